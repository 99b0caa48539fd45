// A stub of ESP8266's LittleFS: files in the folder that HUB_FLASH names.
#pragma once

#include <Arduino.h>

#include <memory>

enum SeekMode { SeekSet };

class File {
 public:
  File() {}
  explicit File(FILE* file) : _file(file, [](FILE* one) { if (one) fclose(one); }) {}
  explicit operator bool() const { return static_cast<bool>(_file); }
  size_t size() const {
    fseek(_file.get(), 0, SEEK_END);
    return static_cast<size_t>(ftell(_file.get()));
  }
  bool seek(uint32_t at, SeekMode) { return !fseek(_file.get(), static_cast<long>(at), SEEK_SET); }
  int read(uint8_t* into, size_t room) { return static_cast<int>(fread(into, 1, room, _file.get())); }
  size_t write(const uint8_t* from, size_t size) { return fwrite(from, 1, size, _file.get()); }
  void close() { _file.reset(); }

 private:
  std::shared_ptr<FILE> _file;
};

struct FileSystem {
  bool begin() { return getenv("HUB_FLASH") != nullptr; }
  File open(const char* path, const char* how) {
    return File(fopen((std::string(getenv("HUB_FLASH")) + path).c_str(), how));
  }
};
static FileSystem LittleFS __attribute__((unused));
