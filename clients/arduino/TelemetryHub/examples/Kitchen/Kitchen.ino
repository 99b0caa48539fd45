// Temperature, a light, a tap that takes its time, an interval that people set; docs: clients/arduino/README.md.
#ifdef ESP8266
#include <ESP8266WiFi.h>
#else
#include <WiFi.h>
#endif
#include <TelemetryHub.h>
#include <TelemetryHubUpdate.h>  // ESP32 alone

#ifndef HUB_HOST  // the device's page has these
#define HUB_HOST "192.168.1.5"
#define HUB_PORT 1883
#define HUB_KEY "kitchen"
#define HUB_SECRET "its secret"
#endif

WiFiClient net;
TelemetryHub hub(net, HUB_HOST, HUB_PORT, HUB_KEY, HUB_SECRET);
float interval = 5;
char mode[8] = "eco";
bool quiet = false;

void light(HubCommand& asked) {
  digitalWrite(LED_BUILTIN, asked.on());
  Serial.println(asked.on() ? "light on" : "light off");
}

void setpoint(HubCommand& asked) {
  if (asked.number() > 25) return asked.reject("too hot for the cat");
  asked.ok(asked.number());
}

void water(HubCommand& asked) {
  Serial.println("water");
  for (int second = 1; second <= asked.number(); ++second) {
    delay(1000);
    asked.progress(second / asked.number());
  }
}

void restart(HubCommand& asked) {
  asked.after([]() { ESP.restart(); });
}

#ifdef ESP32
void update(HubCommand& asked) {
  WiFiClient file;
  if (HubUpdate::install(asked, file, HUB_KEY, HUB_SECRET)) asked.after([]() { ESP.restart(); });
}
#endif

void setup() {
  Serial.begin(115200);
  pinMode(LED_BUILTIN, OUTPUT);
  WiFi.begin("your network", "its password");
  configTime(0, 0, "pool.ntp.org");
  hub.about("Kitchen", "K-1", "1.0");
  hub.metric("temperature", "°C");
  hub.command("light", "bool", light);
  hub.command("setpoint", R"({"type":"number","min":5,"max":30,"unit":"°C"})", setpoint);
  hub.command("water", R"({"type":"number","min":1,"max":60,"unit":"s"})", water);
  hub.command("restart", R"({"type":"action","dangerous":true})", restart);
#ifdef ESP32
  hub.command("update", "update", update);
#endif
  hub.setting("interval_s", &interval, R"({"type":"number","min":0.1,"max":3600,"unit":"s"})");
  hub.setting("mode", mode, R"({"type":"enum","options":["eco","auto"]})");
  hub.setting("quiet", &quiet, "bool");
  hub.begin();
}

void loop() {
  if (hub.every(interval * 1000)) {
    hub.add("temperature", analogRead(A0) / 10.0);
    hub.add("uptime_s", millis() / 1000);
    hub.send();
  }
  hub.loop();
}
