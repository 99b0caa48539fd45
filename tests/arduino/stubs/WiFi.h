// A stub of WiFi on ESP32: a network that is always there, and connections over the host's own sockets.
#pragma once

#include <Client.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

struct Network {
  void begin(const char*, const char*) {}
};
static Network WiFi __attribute__((unused));

class WiFiClient : public Client {
 public:
  ~WiFiClient() override { stop(); }

  int connect(IPAddress, uint16_t) override { return 0; }

  int connect(const char* host, uint16_t port) override {
    stop();
    addrinfo hints = {}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    if (getaddrinfo(host, std::to_string(port).c_str(), &hints, &found)) return 0;
    _socket = socket(found->ai_family, found->ai_socktype, 0);
    const bool there = ::connect(_socket, found->ai_addr, found->ai_addrlen) == 0;
    freeaddrinfo(found);
    if (!there) stop();
    return there;
  }

  size_t write(uint8_t one) override { return write(&one, 1); }

  size_t write(const uint8_t* buffer, size_t size) override {
    if (_socket < 0) return 0;
    const ssize_t done = send(_socket, buffer, size, MSG_NOSIGNAL);
    if (done < 0) stop();
    return done < 0 ? 0 : static_cast<size_t>(done);
  }

  int available() override {
    uint8_t some[256];
    const ssize_t waiting = _socket < 0 ? -1 : recv(_socket, some, sizeof some, MSG_PEEK | MSG_DONTWAIT);
    if (waiting == 0 || (waiting < 0 && _socket >= 0 && errno != EAGAIN)) stop();
    return waiting > 0 ? static_cast<int>(waiting) : 0;
  }

  int read() override {
    uint8_t one;
    return _socket >= 0 && recv(_socket, &one, 1, 0) == 1 ? one : -1;
  }

  int read(uint8_t* into, size_t room) {
    return _socket < 0 ? -1 : static_cast<int>(recv(_socket, into, room, 0));
  }

  void flush() override {}

  void stop() override {
    if (_socket >= 0) close(_socket);
    _socket = -1;
  }

  uint8_t connected() override {
    available();
    return _socket >= 0;
  }

 private:
  int _socket = -1;
};
