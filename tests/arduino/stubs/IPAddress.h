// A stub: it stands in Arduino.h.
#pragma once
#include <Arduino.h>
