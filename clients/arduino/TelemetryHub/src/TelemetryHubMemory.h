// The last commands with their answers, in flash where there is some, so that no restart makes an old one new.
#pragma once

#include <Arduino.h>
#include <string.h>
#if defined(ESP32)
#include <Preferences.h>
#elif defined(ESP8266)
#include <LittleFS.h>
#else
#error "TelemetryHub runs on ESP32 and ESP8266"
#endif

#ifndef HUB_REMEMBERS
#define HUB_REMEMBERS 16
#endif
#ifndef HUB_ANSWER_BYTES
#define HUB_ANSWER_BYTES 80
#endif

struct HubKnown {
  uint32_t number;  // counts up; 0: nothing is here
  char id[20];
  char answer[HUB_ANSWER_BYTES];
};

class HubMemory {
 public:
  void begin() {
    _keeps = open();
    for (unsigned slot = 0; slot < HUB_REMEMBERS; ++slot) {
      HubKnown& known = _known[slot];
      if (!_keeps || !read(slot, known) || !whole(known)) memset(&known, 0, sizeof known);
      if (known.number > _newest) _newest = known.number;
    }
  }

  // How many survive a restart: what may be announced.
  unsigned remembers() const { return _keeps ? HUB_REMEMBERS : 0; }

  const HubKnown* find(const char* id) const {
    for (const HubKnown& known : _known)
      if (known.number && !strcmp(known.id, id)) return &known;
    return nullptr;
  }

  // Note a command before it is carried out, with the answer that is true if a restart comes in between.
  bool note(const char* id) {
    const unsigned slot = ++_newest % HUB_REMEMBERS;
    HubKnown& known = _known[slot];
    memset(&known, 0, sizeof known);
    known.number = _newest;
    strncpy(known.id, id, sizeof known.id - 1);
    strcpy(known.answer, "error a restart came in between; how far it got is not known");
    return !_keeps || write(slot, known);
  }

  void answered(const char* answer) {
    HubKnown& known = _known[_newest % HUB_REMEMBERS];
    strncpy(known.answer, answer, sizeof known.answer - 1);
    if (_keeps) write(_newest % HUB_REMEMBERS, known);
  }

 private:
  HubKnown _known[HUB_REMEMBERS];
  uint32_t _newest = 0;
  bool _keeps = false;

  static bool whole(const HubKnown& known) {
    return memchr(known.id, 0, sizeof known.id) && memchr(known.answer, 0, sizeof known.answer);
  }

#if defined(ESP32)
  Preferences _flash;

  bool open() { return _flash.begin("hub", false); }

  bool read(unsigned slot, HubKnown& known) {
    char name[8];
    return _flash.getBytes(named(slot, name), &known, sizeof known) == sizeof known;
  }

  bool write(unsigned slot, const HubKnown& known) {
    char name[8];
    return _flash.putBytes(named(slot, name), &known, sizeof known) == sizeof known;
  }

  static const char* named(unsigned slot, char (&name)[8]) {
    snprintf(name, sizeof name, "c%u", slot % 1000);
    return name;
  }
#else
  bool open() {
    if (!LittleFS.begin()) return false;
    File file = LittleFS.open("/hub_commands", "r");
    if (file && file.size() == sizeof _known) return true;
    file = LittleFS.open("/hub_commands", "w");
    HubKnown none;
    memset(&none, 0, sizeof none);
    bool made = static_cast<bool>(file);
    for (unsigned slot = 0; made && slot < HUB_REMEMBERS; ++slot)
      made = file.write(reinterpret_cast<const uint8_t*>(&none), sizeof none) == sizeof none;
    file.close();
    return made;
  }

  bool read(unsigned slot, HubKnown& known) {
    File file = LittleFS.open("/hub_commands", "r");
    const bool done = file && file.seek(slot * sizeof known, SeekSet) &&
                      file.read(reinterpret_cast<uint8_t*>(&known), sizeof known) == static_cast<int>(sizeof known);
    file.close();
    return done;
  }

  bool write(unsigned slot, const HubKnown& known) {
    File file = LittleFS.open("/hub_commands", "r+");
    const bool done = file && file.seek(slot * sizeof known, SeekSet) &&
                      file.write(reinterpret_cast<const uint8_t*>(&known), sizeof known) == sizeof known;
    file.close();
    return done;
  }
#endif
};
