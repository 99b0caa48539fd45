// A stub: on ESP8266 it is called so.
#pragma once
#include <WiFi.h>
