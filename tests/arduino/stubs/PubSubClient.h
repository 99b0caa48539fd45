// A stub of PubSubClient 2.8, which is no part of this repository: its interface, as far as it is used, and MQTT 3.1.1.
//
// Like the real one it has one buffer, skips packets that do not fit, reads one packet a turn, publishes with QoS 0, and
// hands the topic out where it lies: moved by a byte, behind the packet's first bytes.
#pragma once

#include <Client.h>

#include <functional>
#include <vector>

class PubSubClient : public Print {
 public:
  typedef std::function<void(char*, uint8_t*, unsigned int)> Callback;

  explicit PubSubClient(Client& client) : _client(client), _buffer(256) {}

  PubSubClient& setServer(const char* host, uint16_t port) {
    _host = host;
    _port = port;
    return *this;
  }
  PubSubClient& setCallback(Callback callback) {
    _callback = callback;
    return *this;
  }
  PubSubClient& setSocketTimeout(uint16_t) { return *this; }
  bool setBufferSize(uint16_t size) {
    _buffer.resize(size);
    return true;
  }

  bool connected() { return _client.connected() && _isIn; }

  bool connect(const char* id, const char* user, const char* pass, const char* willTopic, uint8_t willQos,
               bool willRetain, const char* willMessage) {
    if (!_client.connect(_host, _port)) return false;
    const uint8_t flags = static_cast<uint8_t>(0xc6 | willQos << 3 | (willRetain ? 0x20 : 0));
    std::string body = text("MQTT") + '\x04' + static_cast<char>(flags) + std::string("\0\x0f", 2);
    for (const char* part : {id, willTopic, willMessage, user, pass}) body += text(part);
    if (body.size() + 5 > _buffer.size() || !packet(0x10, body)) return false;
    for (int turn = 0; turn < 5000 && !_client.available() && _client.connected(); ++turn) delay(1);
    _isIn = _client.available() && take() && _buffer[0] == 0x20 && !_buffer[3];
    if (!_isIn) _client.stop();
    return _isIn;
  }

  void disconnect() {
    _client.write(reinterpret_cast<const uint8_t*>("\xe0\0"), 2);
    _client.stop();
    _isIn = false;
  }

  bool publish(const char* topic, const char* payload, bool retained = false) {
    if (!connected() || 7 + strlen(topic) + strlen(payload) > _buffer.size()) return false;
    return packet(0x30 | retained, text(topic) + payload);
  }

  bool beginPublish(const char* topic, unsigned int size, bool retained) {
    return connected() && packet(0x30 | retained, text(topic), size);
  }
  int endPublish() { return 1; }
  size_t write(uint8_t one) override { return _client.write(one); }
  size_t write(const uint8_t* from, size_t size) override { return _client.write(from, size); }

  bool subscribe(const char* topic, uint8_t qos) {
    ++_id;
    const char id[] = {static_cast<char>(_id >> 8), static_cast<char>(_id)};
    return connected() && packet(0x82, std::string(id, 2) + text(topic) + static_cast<char>(qos));
  }

  bool loop() {
    if (!connected()) return false;
    if (millis() - _spoke > 10000) packet(0xc0, "");
    if (_client.available() && take() && (_buffer[0] & 0xf0) == 0x30) hand();
    return connected();
  }

 private:
  Client& _client;
  std::vector<uint8_t> _buffer;
  const char* _host = nullptr;
  uint16_t _port = 0, _id = 0;
  bool _isIn = false;
  unsigned long _spoke = 0;
  size_t _head = 0, _size = 0;  // how many bytes the length has, and the whole packet
  Callback _callback;

  static std::string text(const char* what) {
    const size_t size = strlen(what);
    const char length[] = {static_cast<char>(size >> 8), static_cast<char>(size)};
    return std::string(length, 2) + what;
  }

  bool packet(int first, const std::string& body, size_t more = 0) {
    std::string whole(1, static_cast<char>(first));
    size_t length = body.size() + more;
    do {
      whole += static_cast<char>((length & 0x7f) | (length > 0x7f ? 0x80 : 0));
      length >>= 7;
    } while (length);
    whole += body;
    _spoke = millis();
    return _client.write(reinterpret_cast<const uint8_t*>(whole.data()), whole.size()) == whole.size();
  }

  // Read a packet into the buffer; false when it does not fit, or ends.
  bool take() {
    size_t length = 0, shift = 0;
    _buffer[0] = static_cast<uint8_t>(_client.read());
    _head = 0;
    do {
      _buffer[++_head] = static_cast<uint8_t>(_client.read());
      length |= static_cast<size_t>(_buffer[_head] & 0x7f) << shift;
      shift += 7;
    } while (_buffer[_head] & 0x80 && _head < 4);
    _size = 1 + _head + length;
    for (size_t at = 1 + _head; at < _size; ++at) {
      const int one = _client.read();
      if (one < 0) return false;
      if (at < _buffer.size()) _buffer[at] = static_cast<uint8_t>(one);
    }
    return _size <= _buffer.size();
  }

  void hand() {
    const size_t size = static_cast<size_t>(_buffer[_head + 1] << 8 | _buffer[_head + 2]);
    char* topic = reinterpret_cast<char*>(&_buffer[_head + 2]);
    memmove(topic, topic + 1, size);
    topic[size] = 0;
    const bool once = (_buffer[0] & 6) == 0;
    uint8_t* id = &_buffer[_head + 3 + size];
    const char acknowledged[] = {static_cast<char>(id[0]), static_cast<char>(id[1])};
    uint8_t* payload = id + (once ? 0 : 2);
    _callback(topic, payload, static_cast<unsigned>(_size - static_cast<size_t>(payload - _buffer.data())));
    if (!once) packet(0x40, std::string(acknowledged, 2));
  }
};
