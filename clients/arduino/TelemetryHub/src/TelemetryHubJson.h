// The little JSON that a device writes and reads; no memory of its own, and never beyond the end of a text.
#pragma once

#include <PubSubClient.h>
#include <stdlib.h>
#include <string.h>

// Writes a message twice: first only counting, for MQTT wants its length ahead, then for good.
class HubWriter {
 public:
  size_t length = 0;

  void sendTo(PubSubClient* mqtt) { _mqtt = mqtt; }

  HubWriter& raw(const char* text) { return raw(text, strlen(text)); }

  HubWriter& raw(const char* text, size_t size) {
    if (!_mqtt) length += size;
    for (size_t at = 0; _mqtt && at < size; ++at) {
      _piece[_held++] = static_cast<uint8_t>(text[at]);
      if (_held == sizeof _piece) flush();
    }
    return *this;
  }

  HubWriter& quoted(const char* text) {
    raw("\"");
    for (; *text; ++text) {
      if (*text == '"' || *text == '\\') raw("\\");
      if (static_cast<unsigned char>(*text) >= ' ') raw(text, 1);
    }
    return raw("\"");
  }

  void flush() {
    if (_held) _mqtt->write(_piece, _held);
    _held = 0;
  }

 private:
  PubSubClient* _mqtt = nullptr;
  uint8_t _piece[64];
  size_t _held = 0;
};

// Finds values in JSON; of what is no JSON it finds something or nothing.
struct HubJson {
  // The value of a member, or nullptr.
  static const char* find(const char* object, const char* name) {
    const char* key;
    size_t size;
    while (const char* value = member(object, key, size))
      if (size == strlen(name) && !strncmp(key, name, size)) return value;
    return nullptr;
  }

  // Go through an object: the next member's value, with its name; nullptr behind the last.
  static const char* member(const char*& at, const char*& key, size_t& size) {
    at = space(at);
    if (*at == '{' || *at == ',') at = space(at + 1);
    if (*at != '"') return nullptr;
    key = at + 1;
    const char* behind = skip(at);
    if (behind[-1] != '"' || behind - key < 1) return nullptr;
    size = static_cast<size_t>(behind - 1 - key);
    at = space(behind);
    if (*at != ':') return nullptr;
    const char* value = space(at + 1);
    at = space(skip(value));
    return value;
  }

  // Go through an array: the next element; nullptr behind the last.
  static const char* element(const char*& at) {
    at = space(at);
    if (*at == '[' || *at == ',') at = space(at + 1);
    if (!*at || *at == ']') return nullptr;
    const char* value = at;
    at = space(skip(value));
    return at == value ? nullptr : value;
  }

  static bool isNumber(const char* value) { return *value == '-' || (*value >= '0' && *value <= '9'); }

  static uint32_t counter(const char* value) {
    return value && isNumber(value) ? static_cast<uint32_t>(strtoul(value, nullptr, 10)) : 0;
  }

  // A text without its quotes; false when it is none, or does not fit.
  static bool text(const char* value, char* into, size_t room) {
    if (!value || *value != '"') return false;
    size_t size = 0;
    for (++value; *value && *value != '"'; ++value) {
      if (*value == '\\') {
        ++value;
        if (!strchr("\"\\/", *value) || !*value) return false;
      }
      if (size + 1 >= room) return false;
      into[size++] = *value;
    }
    into[size] = 0;
    return *value == '"';
  }

 private:
  static const char* space(const char* at) {
    while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t') ++at;
    return at;
  }

  // Behind the value that begins here.
  static const char* skip(const char* at) {
    unsigned depth = 0;
    bool inText = false;
    for (; *at; ++at) {
      if (inText) {
        if (*at == '\\' && at[1]) ++at;
        else if (*at == '"') {
          inText = false;
          if (!depth) return at + 1;
        }
      } else if (*at == '"') {
        inText = true;
      } else if (*at == '{' || *at == '[') {
        ++depth;
      } else if (*at == '}' || *at == ']') {
        if (!depth) return at;
        if (!--depth) return at + 1;
      } else if (!depth && (*at == ',' || *at == ' ')) {
        return at;
      }
    }
    return at;
  }
};
