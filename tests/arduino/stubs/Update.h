// A stub of ESP32's Update: what is installed is the file firmware.bin in the folder that HUB_FLASH names.
#pragma once

#include <Arduino.h>

class Updater {
 public:
  bool begin(size_t size) {
    _left = size;
    _file = fopen(path(".part").c_str(), "wb");
    return _file;
  }
  size_t write(const uint8_t* from, size_t size) {
    _left -= size;
    return fwrite(from, 1, size, _file);
  }
  bool end(bool) {
    abort();
    return !_left && !rename(path(".part").c_str(), path("").c_str());
  }
  void abort() {
    if (_file) fclose(_file);
    _file = nullptr;
  }

 private:
  FILE* _file = nullptr;
  size_t _left = 0;

  static std::string path(const char* end) { return std::string(getenv("HUB_FLASH")) + "/firmware.bin" + end; }
};
static Updater Update __attribute__((unused));
