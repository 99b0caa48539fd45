// A stub of ESP32's HTTPClient: GET with HTTP/1.0.
#pragma once

#include <WiFi.h>

class HTTPClient {
 public:
  bool begin(WiFiClient& net, const char* url) {
    _net = &net;
    const std::string whole(url);
    const size_t host = whole.find("//") + 2, path = whole.find('/', host), port = whole.find(':', host);
    _path = whole.substr(path);
    return net.connect(whole.substr(host, port - host).c_str(),
                       static_cast<uint16_t>(atoi(whole.substr(port + 1, path - port - 1).c_str())));
  }

  void setAuthorization(const char* user, const char* secret) {
    static const char* const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const std::string login = std::string(user) + ":" + secret;
    std::string written;
    for (size_t at = 0; at < login.size(); at += 3) {
      const auto byte = [&](size_t n) { return at + n < login.size() ? static_cast<uint8_t>(login[at + n]) : 0u; };
      const unsigned bits = byte(0) << 16 | byte(1) << 8 | byte(2);
      for (size_t digit = 0; digit < 4; ++digit)
        written += at + digit > login.size() ? '=' : digits[bits >> (18 - 6 * digit) & 63];
    }
    addHeader("Authorization", ("Basic " + written).c_str());
  }

  void addHeader(const char* name, const char* value) { _headers += std::string(name) + ": " + value + "\r\n"; }

  int GET() {
    const std::string asked = "GET " + _path + " HTTP/1.0\r\n" + _headers + "\r\n";
    _net->write(reinterpret_cast<const uint8_t*>(asked.data()), asked.size());
    std::string head;
    for (int one; head.find("\r\n\r\n") == std::string::npos && (one = _net->read()) >= 0;) head += static_cast<char>(one);
    return head.size() < 12 ? -1 : atoi(head.c_str() + 9);
  }

  WiFiClient* getStreamPtr() { return _net; }
  void end() { _net->stop(); }

 private:
  WiFiClient* _net = nullptr;
  std::string _path, _headers;
};
