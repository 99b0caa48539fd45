// A stub of ESP32's Preferences: each entry is a file in the folder that HUB_FLASH names.
#pragma once

#include <Arduino.h>

class Preferences {
 public:
  bool begin(const char* space, bool) {
    const char* folder = getenv("HUB_FLASH");
    if (!folder) return false;
    _folder = std::string(folder) + "/" + space + ".";
    return true;
  }

  size_t getBytes(const char* key, void* into, size_t room) {
    FILE* file = fopen((_folder + key).c_str(), "rb");
    if (!file) return 0;
    const size_t size = fread(into, 1, room, file);
    fclose(file);
    return size;
  }

  size_t putBytes(const char* key, const void* from, size_t size) {
    FILE* file = fopen((_folder + key).c_str(), "wb");
    if (!file) return 0;
    const size_t done = fwrite(from, 1, size, file);
    fclose(file);
    return done;
  }

 private:
  std::string _folder;
};
