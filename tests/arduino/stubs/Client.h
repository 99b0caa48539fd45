// A stub of Arduino's Client: the interface that PubSubClient speaks through.
#pragma once

#include <Arduino.h>

class Client : public Stream {
 public:
  virtual int connect(IPAddress ip, uint16_t port) = 0;
  virtual int connect(const char* host, uint16_t port) = 0;
  using Print::write;
  virtual int available() = 0;
  virtual int read() = 0;
  virtual void flush() = 0;
  virtual void stop() = 0;
  virtual uint8_t connected() = 0;
};
