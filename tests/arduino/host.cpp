// Runs the example on the host: the broker and the device are those of the environment.
#include <Arduino.h>

#define HUB_HOST getenv("HUB_HOST")
#define HUB_PORT static_cast<uint16_t>(atoi(getenv("HUB_PORT")))
#define HUB_KEY getenv("HUB_KEY")
#define HUB_SECRET getenv("HUB_SECRET")
#include "../../clients/arduino/TelemetryHub/examples/Kitchen/Kitchen.ino"

int main() {
  setup();
  for (;;) {
    loop();
    delay(5);
  }
}
