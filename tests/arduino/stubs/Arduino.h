// A stub of Arduino's core for tests on the host: as much as the library, its example and PubSubClient use.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <unistd.h>

using boolean = bool;
using byte = uint8_t;

#define PROGMEM
#define pgm_read_byte_near(at) (*reinterpret_cast<const uint8_t*>(at))
#define OUTPUT 1
#define LED_BUILTIN 2
#define A0 0

inline unsigned long millis() {
  static const auto begin = std::chrono::steady_clock::now();
  const auto since = std::chrono::steady_clock::now() - begin;
  return static_cast<unsigned long>(std::chrono::duration_cast<std::chrono::milliseconds>(since).count());
}
inline void delay(unsigned long ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }
inline void yield() { std::this_thread::yield(); }
inline void pinMode(int, int) {}
inline void digitalWrite(int, int) {}
inline int analogRead(int) { return 215; }
inline void configTime(long, int, const char*) {}
inline uint32_t esp_random() {
  uint32_t noise = 0;
  FILE* source = fopen("/dev/urandom", "rb");
  if (source && fread(&noise, sizeof noise, 1, source) != 1) noise = 0;
  if (source) fclose(source);
  return noise;
}
#define RANDOM_REG32 esp_random()

class Print {
 public:
  virtual ~Print() {}
  virtual size_t write(uint8_t) = 0;
  virtual size_t write(const uint8_t* buffer, size_t size) {
    size_t done = 0;
    while (done < size && write(buffer[done])) ++done;
    return done;
  }
};

class Stream : public Print {};

class IPAddress {
 public:
  IPAddress() {}
  IPAddress(uint8_t, uint8_t, uint8_t, uint8_t) {}
};

struct Console {
  void begin(int) {}
  void print(const char* text) {
    printf("%s", text);
    fflush(stdout);
  }
  void println(const char* text) {
    printf("%s\n", text);
    fflush(stdout);
  }
};
static Console Serial __attribute__((unused));

struct Chip {
  [[noreturn]] void restart() { exit(0); }
};
static Chip ESP __attribute__((unused));
