"""MQTT ⇄ device groups: the only room that speaks to the broker."""
