// A device of the Telemetry Hub for ESP32 and ESP8266; needs PubSubClient 2.8 or newer (README.md).
#pragma once

#include <Arduino.h>
#include <PubSubClient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "TelemetryHubJson.h"
#include "TelemetryHubMemory.h"

// Each may be defined to be something else before this file is included.
#ifndef HUB_FRAMES
#define HUB_FRAMES 32  // kept while the hub is away
#endif
#ifndef HUB_FRAME_BYTES
#define HUB_FRAME_BYTES 96  // of the values of one frame
#endif
#ifndef HUB_PACKET_BYTES
#define HUB_PACKET_BYTES 640  // the longest MQTT packet; PubSubClient's own 256 are too few for an update's address
#endif
#ifndef HUB_MOST
#define HUB_MOST 12  // metrics, commands, settings, of each
#endif

// One command that is being carried out. Whoever says nothing has said ok.
class HubCommand {
 public:
  const char* name;
  const char* id;
  const char* argument;  // as it came: on, 21.5, text

  bool on() const { return !strcmp(argument, "on") || !strcmp(argument, "true"); }
  double number() const { return strtod(argument, nullptr); }

  void ok() { answer("ok", ""); }
  void ok(double value) {
    snprintf(_answer, sizeof _answer, "{\"status\":\"ok\",\"value\":%.10g}", value);
  }
  void fail(const char* why) { answer("error ", why); }      // tried, and failed
  void reject(const char* why) { answer("rejected ", why); }  // will not do it
  void after(void (*what)()) { _after = what; }              // called when the answer is on its way: a restart

  // How far it is, from 0 to 1; `step` is an update's.
  void progress(float part, const char* step = nullptr) {
    char said[96];
    snprintf(said, sizeof said, "{\"status\":\"accepted\",\"progress\":%.2f%s%s%s}", static_cast<double>(part),
             step ? ",\"step\":\"" : "", step ? step : "", step ? "\"" : "");
    _mqtt->publish(_topic, said);
  }

 private:
  friend class TelemetryHub;
  char _answer[HUB_ANSWER_BYTES];
  const char* _topic;
  PubSubClient* _mqtt;
  void (*_after)() = nullptr;

  void answer(const char* status, const char* text) { snprintf(_answer, sizeof _answer, "%s%s", status, text); }
};

class TelemetryHub {
 public:
  unsigned long dropped = 0;  // frames given up before a receipt told that they are committed

  TelemetryHub(Client& network, const char* host, uint16_t port, const char* key, const char* secret)
      : _mqtt(network), _host(host), _port(port), _key(key), _secret(secret) {}

  // --- what it is; all texts must stay where they are

  void about(const char* name, const char* model, const char* firmware) {
    _about[0] = name;
    _about[1] = model;
    _about[2] = firmware;
  }

  // `spec`: a unit, or JSON: {"unit":"°C","class":"temperature"}.
  void metric(const char* name, const char* spec) {
    if (_metrics < HUB_MOST) _metric[_metrics++] = {name, spec};
  }

  // `spec`: a type (bool, number, text, action), or JSON: {"type":"number","min":5,"max":30}.
  void command(const char* name, const char* spec, void (*act)(HubCommand&)) {
    if (_commands < HUB_MOST) _command[_commands++] = {name, spec, act};
  }

  // The variable is the setting; what is in it now is the default. `spec`: JSON as of a command.
  void setting(const char* name, float* number, const char* spec) { enter({name, spec, number, nullptr, nullptr, 0}); }
  void setting(const char* name, bool* on, const char* spec) { enter({name, spec, nullptr, on, nullptr, 0}); }
  template <size_t N>
  void setting(const char* name, char (&text)[N], const char* spec) {
    static_assert(N <= sizeof(Setting::initial.text), "a text setting has at most 31 characters");
    enter({name, spec, nullptr, nullptr, text, N});
  }

  void onSetting(void (*changed)(const char* name)) { _changed = changed; }

  // --- what it says: add(…), add(…), send()

  bool add(const char* name, double value) { return addNumber(name, value, 10); }
  bool add(const char* name, float value) { return addNumber(name, static_cast<double>(value), 7); }
  bool add(const char* name, int value) { return addNumber(name, value, 10); }
  bool add(const char* name, unsigned value) { return addNumber(name, value, 10); }
  bool add(const char* name, long value) { return addNumber(name, static_cast<double>(value), 10); }
  bool add(const char* name, unsigned long value) { return addNumber(name, static_cast<double>(value), 10); }
  bool add(const char* name, bool value) { return addText(name, value ? "true" : "false", false); }
  bool add(const char* name, const char* text) { return addText(name, text, true); }

  // Keep the frame, and send it as soon as the hub can be reached.
  void send() {
    if (!_used) return;
    if (_kept == HUB_FRAMES) {
      if (_frame[_first].n) ++dropped;
      _first = (_first + 1) % HUB_FRAMES;
      --_kept;
    }
    Frame& frame = _frame[(_first + _kept++) % HUB_FRAMES];
    frame.n = ++_n;
    frame.at = millis();
    frame.ts = now();
    memcpy(frame.values, _building, _used + 1);
    _used = 0;
  }

  // --- its life

  // Once in setup().
  void begin() {
    _boot = noise();
    _memory.begin();
    snprintf(_root, sizeof _root, "hub/%s/", _key);
    for (unsigned at = 0; at < _settings; ++at) remember(_setting[at]);
    self() = this;
    _mqtt.setBufferSize(HUB_PACKET_BYTES);
    _mqtt.setSocketTimeout(5);
    _mqtt.setServer(_host, _port);
    _mqtt.setCallback([](char* topic, uint8_t* payload, unsigned int size) { self()->came(topic, payload, size); });
  }

  // As often as possible; whether the hub's broker is there.
  bool loop() {
    if (!_mqtt.connected()) {
      if (_online) wait();
      _online = due() && connect();
      if (!_online) return false;
    }
    for (int most = 8; most; --most) {
      _mqtt.loop();
      if (!_waiting) break;
      _waiting = false;
      heard();
    }
    sendFrames();
    return _mqtt.connected();
  }

  bool connected() { return _mqtt.connected(); }
  unsigned pending() const { return _kept; }

  // True once in this many milliseconds: if (hub.every(interval * 1000)) …
  bool every(unsigned long ms) {
    if (_measured && millis() - _lastMeasured < ms) return false;
    _measured = true;
    _lastMeasured = millis();
    return true;
  }

 private:
  struct Described {
    const char* name;
    const char* spec;
  };
  struct Command {
    const char* name;
    const char* spec;
    void (*act)(HubCommand&);
  };
  struct Setting {
    const char* name;
    const char* spec;
    float* number;
    bool* on;
    char* text;
    size_t room;
    union {
      float number;
      bool on;
      char text[32];
    } initial;
    bool said;
    Setting() = default;
    Setting(const char* name_, const char* spec_, float* number_, bool* on_, char* text_, size_t room_)
        : name(name_), spec(spec_), number(number_), on(on_), text(text_), room(room_), initial(), said(true) {}
  };
  struct Frame {
    uint32_t n;  // 0: a receipt told that it is committed
    uint32_t at;
    uint64_t ts;
    char values[HUB_FRAME_BYTES];
  };

  PubSubClient _mqtt;
  const char* _host;
  uint16_t _port;
  const char* _key;
  const char* _secret;
  const char* _about[3] = {"", "", ""};
  Described _metric[HUB_MOST];
  Command _command[HUB_MOST];
  Setting _setting[HUB_MOST];
  unsigned _metrics = 0, _commands = 0, _settings = 0;
  void (*_changed)(const char*) = nullptr;
  HubMemory _memory;

  Frame _frame[HUB_FRAMES];
  unsigned _first = 0, _kept = 0;
  uint32_t _boot = 0, _n = 0, _sent = 0, _told = 0;
  char _building[HUB_FRAME_BYTES];
  size_t _used = 0;

  char _root[72];   // hub/<63>/
  char _topic[160];
  char _levels[96];                  // of what came: cmd/led/<id>
  char _payload[HUB_PACKET_BYTES];
  bool _waiting = false, _retained = false, _online = false;
  uint32_t _next = 0, _pause = 0;
  bool _measured = false;
  unsigned long _lastMeasured = 0;

  static TelemetryHub*& self() {
    static TelemetryHub* one = nullptr;
    return one;
  }

  static uint32_t noise() {
#if defined(ESP32)
    return esp_random();
#else
    return RANDOM_REG32;
#endif
  }

  // ms since 1970; 0 from a clock that was never set.
  static uint64_t now() {
    timeval time;
    gettimeofday(&time, nullptr);
    if (time.tv_sec < Since) return 0;
    return static_cast<uint64_t>(time.tv_sec) * 1000 + static_cast<uint64_t>(time.tv_usec / 1000);
  }

  static const long Since = 1735689600;  // 2025-01-01: ids of commands count from there

  // Until when a command may be carried out, in ms since 1970; 0 when its id does not say.
  static uint64_t expiryOf(const char* id) {
    static const char* const letters = "abcdefghijkmnpqrstuvwxyz23456789";
    if (strlen(id) != 12) return 0;
    uint64_t seconds = 0;
    for (int at = 0; at < 6; ++at) {
      const char* digit = strchr(letters, id[at]);
      if (!digit) return 0;
      seconds = seconds * 32 + static_cast<uint64_t>(digit - letters);
    }
    return (Since + seconds) * 1000;
  }

  const char* topic(const char* suffix, const char* id = "") {
    snprintf(_topic, sizeof _topic, "%s%s%s", _root, suffix, id);
    return _topic;
  }

  // --- frames

  bool addNumber(const char* name, double value, int digits) {
    char text[32];
    if (value != value || value > 1e300 || value < -1e300) return false;  // JSON knows neither nan nor inf
    snprintf(text, sizeof text, "%.*g", digits, value);
    return addText(name, text, false);
  }

  bool addText(const char* name, const char* text, bool quoted) {
    if (put(name, text, quoted)) return true;
    send();  // what has no room any more begins another frame
    return put(name, text, quoted);
  }

  bool put(const char* name, const char* text, bool quoted) {
    size_t at = _used;
    if (!(letter(at, _used ? ',' : '{', 0) && word(at, name) && letter(at, ':', 0))) return false;
    if (quoted ? !word(at, text) : !plain(at, text)) return false;
    _used = at;
    _building[_used] = 0;  // the closing brace is written when it is sent
    return true;
  }

  bool letter(size_t& at, char what, size_t reserve) {
    if (at + 1 + reserve >= sizeof _building) return false;
    _building[at++] = what;
    return true;
  }

  bool plain(size_t& at, const char* text) {
    for (; *text; ++text)
      if (!letter(at, *text, 0)) return false;
    return true;
  }

  bool word(size_t& at, const char* text) {
    if (!letter(at, '"', 0)) return false;
    for (; *text; ++text) {
      if ((*text == '"' || *text == '\\') && !letter(at, '\\', 0)) return false;
      if (static_cast<unsigned char>(*text) >= ' ' && !letter(at, *text, 0)) return false;
    }
    return letter(at, '"', 0);
  }

  void sendFrames() {
    const uint32_t at = millis();
    // What no receipt covers after a while is sent once more.
    if (!_kept || at - _told > 30000) {
      _told = at;
      _sent = 0;
    }
    for (unsigned each = 0; each < _kept; ++each) {
      const Frame& frame = _frame[(_first + each) % HUB_FRAMES];
      if (frame.n <= _sent) continue;
      char said[HUB_FRAME_BYTES + 80];
      int size = snprintf(said, sizeof said, "{\"boot\":%lu,\"seq\":%lu,", static_cast<unsigned long>(_boot),
                          static_cast<unsigned long>(frame.n));
      // Two halves, for not each board's printf knows 64 bits.
      if (frame.ts)
        size += snprintf(said + size, sizeof said - size, "\"ts\":%lu%03u",
                         static_cast<unsigned long>(frame.ts / 1000), static_cast<unsigned>(frame.ts % 1000));
      else
        size += snprintf(said + size, sizeof said - size, "\"dt\":-%lu", static_cast<unsigned long>(at - frame.at));
      snprintf(said + size, sizeof said - size, ",\"values\":%s}}", frame.values);
      if (!_mqtt.publish(topic("telemetry"), said)) return;
      _sent = frame.n;
    }
  }

  void receipt() {
    const char* have = HubJson::find(_payload, "have");
    if (HubJson::counter(HubJson::find(_payload, "boot")) != _boot) return;
    _told = millis();
    forget(0, HubJson::counter(HubJson::find(_payload, "seq")));
    while (const char* range = have ? HubJson::element(have) : nullptr) {
      const char* low = HubJson::element(range);
      const char* high = low ? HubJson::element(range) : nullptr;
      if (high) forget(HubJson::counter(low), HubJson::counter(high));
    }
    while (_kept && !_frame[_first].n) {
      _first = (_first + 1) % HUB_FRAMES;
      --_kept;
    }
  }

  void forget(uint32_t low, uint32_t high) {
    for (unsigned each = 0; each < _kept; ++each) {
      Frame& frame = _frame[(_first + each) % HUB_FRAMES];
      if (frame.n >= low && frame.n <= high) frame.n = 0;
    }
  }

  // --- the connection

  bool due() const { return static_cast<int32_t>(millis() - _next) >= 0; }

  bool connect() {
    if (_mqtt.connect(_key, _key, _secret, topic("status"), 1, true, "offline") && listen() && announce()) {
      _pause = 0;
      _sent = 0;
      _told = millis();
      return true;
    }
    _mqtt.disconnect();
    wait();
    return false;
  }

  // Not all that were cut off come back in one instant.
  void wait() {
    _pause = _pause ? (_pause < 30000 ? 2 * _pause : 60000) : 1000;
    _next = millis() + _pause + noise() % (_pause / 2);
  }

  bool listen() {
    return _mqtt.subscribe(topic("cmd/#"), 1) && _mqtt.subscribe(topic("receipt"), 1) &&
           _mqtt.subscribe(topic("error"), 1) && (!_settings || _mqtt.subscribe(topic("desired"), 1));
  }

  bool announce() {
    for (unsigned at = 0; at < _settings; ++at) _setting[at].said = true;
    return tell("meta", true, &TelemetryHub::describe) && _mqtt.publish(topic("status"), "online", true) &&
           (!_settings || tell("reported", false, &TelemetryHub::values));
  }

  // Publish what `write` writes, however long it is.
  bool tell(const char* suffix, bool retain, void (TelemetryHub::*write)(HubWriter&)) {
    HubWriter out;
    (this->*write)(out);
    if (!_mqtt.beginPublish(topic(suffix), static_cast<unsigned>(out.length), retain)) return false;
    out.sendTo(&_mqtt);
    (this->*write)(out);
    out.flush();
    return _mqtt.endPublish() == 1;
  }

  void describe(HubWriter& out) {
    static const char* const words[] = {"name", "model", "fw"};
    char number[16];
    snprintf(number, sizeof number, "%u", _memory.remembers());
    out.raw("{\"remembers\":").raw(number);
    for (int at = 0; at < 3; ++at)
      if (*_about[at]) out.raw(",").quoted(words[at]).raw(":").quoted(_about[at]);
    out.raw(",\"metrics\":{");
    for (unsigned at = 0; at < _metrics; ++at) describe(out, at, _metric[at].name, _metric[at].spec);
    out.raw("},\"commands\":{");
    for (unsigned at = 0; at < _commands; ++at) describe(out, at, _command[at].name, _command[at].spec);
    out.raw("},\"settings\":{");
    for (unsigned at = 0; at < _settings; ++at) describe(out, at, _setting[at].name, _setting[at].spec);
    out.raw("}}");
  }

  static void describe(HubWriter& out, unsigned at, const char* name, const char* spec) {
    out.raw(at ? "," : "").quoted(name).raw(":");
    *spec == '{' ? out.raw(spec) : out.quoted(spec);
  }

  // --- what comes

  void came(char* at, uint8_t* payload, unsigned int size) {
    const size_t root = strlen(_root);
    if (_waiting || strncmp(at, _root, root) || strlen(at + root) >= sizeof _levels || size >= sizeof _payload) return;
    strcpy(_levels, at + root);
    memcpy(_payload, payload, size);
    _payload[size] = 0;
    _retained = wasRetained(at, payload, size);
    _waiting = true;
  }

  // PubSubClient does not say it, but the packet's first byte still stands before the topic, in its one buffer.
  static bool wasRetained(const char* at, const uint8_t* payload, unsigned int size) {
    const size_t topicSize = strlen(at);
    const size_t between = static_cast<size_t>(payload - reinterpret_cast<const uint8_t*>(at)) - topicSize - 1;
    const size_t rest = 2 + topicSize + between + size;
    const uint8_t first = static_cast<uint8_t>(*(at - (rest > 16383 ? 5 : rest > 127 ? 4 : 3)));
    return (first & 0xf0) == 0x30 && (first & 1);
  }

  void heard() {
    if (!strncmp(_levels, "cmd/", 4)) return obey();
    if (_retained) return;  // nothing of this is ever retained
    if (!strcmp(_levels, "receipt")) return receipt();
    if (!strcmp(_levels, "desired")) return take();
    if (!strcmp(_levels, "error")) {
      Serial.print("hub refused: ");
      Serial.println(_payload);
    }
  }

  void obey() {
    char* name = _levels + 4;
    char* id = strchr(name, '/');
    if (!id || strchr(id + 1, '/')) return;
    *id++ = 0;
    HubCommand asked;
    asked.name = name;
    asked.id = id;
    asked.argument = _payload;
    asked._mqtt = &_mqtt;
    char ack[sizeof _topic];
    snprintf(ack, sizeof ack, "%sack/%s", _root, id);
    asked._topic = ack;
    asked.ok();
    decide(asked);
    _mqtt.publish(ack, asked._answer);
    if (asked._after) {
      delay(200);  // until it is on its way
      asked._after();
    }
  }

  void decide(HubCommand& asked) {
    if (const HubKnown* known = _memory.find(asked.id)) return asked.answer("", known->answer);
    if (_retained) return asked.reject("it was retained; commands never are");
    const uint64_t expires = expiryOf(asked.id), clock = now();
    if (expires && clock > expires) return asked.answer("expired ", "it came too late");
    for (unsigned at = 0; at < _commands; ++at) {
      if (strcmp(_command[at].name, asked.name)) continue;
      if (!fits(_command[at].spec, asked.argument)) return asked.reject("it is beyond its limits");
      // One that cannot be noted is not carried out: it could come again.
      if (strlen(asked.id) >= sizeof HubKnown::id || !_memory.note(asked.id)) return asked.fail("it cannot be noted");
      _command[at].act(asked);
      return _memory.answered(asked._answer);
    }
    asked.reject("there is no such command");
  }

  // The hub has looked at the argument; this is for the limits that a device must never pass.
  static bool fits(const char* spec, const char* argument) {
    char type[16];
    if (!HubJson::text(*spec == '{' ? HubJson::find(spec, "type") : nullptr, type, sizeof type)) {
      if (strlen(spec) >= sizeof type) return false;
      strcpy(type, spec);
    }
    if (!strcmp(type, "bool"))
      return !strcmp(argument, "on") || !strcmp(argument, "off") || !strcmp(argument, "true") ||
             !strcmp(argument, "false");
    if (strcmp(type, "number")) return true;
    char* behind;
    const double value = strtod(argument, &behind);
    return behind != argument && !*behind && within(spec, value);
  }

  static bool within(const char* spec, double value) {
    const char* least = HubJson::find(spec, "min");
    const char* most = HubJson::find(spec, "max");
    return !(least && value < strtod(least, nullptr)) && !(most && value > strtod(most, nullptr));
  }

  // --- settings

  void enter(const Setting& one) {
    if (_settings < HUB_MOST) _setting[_settings++] = one;
  }

  static void remember(Setting& one) {
    if (one.number) one.initial.number = *one.number;
    if (one.on) one.initial.on = *one.on;
    if (one.text) strncpy(one.initial.text, one.text, sizeof one.initial.text - 1);
  }

  void take() {
    const char* version = HubJson::find(_payload, "version");
    const char* wanted = HubJson::find(_payload, "values");
    if (!version || !wanted) return;
    _version = HubJson::counter(version);
    for (unsigned at = 0; at < _settings; ++at) _setting[at].said = false;
    const char* key;
    size_t size;
    while (const char* value = HubJson::member(wanted, key, size))
      for (unsigned at = 0; at < _settings; ++at) {
        Setting& one = _setting[at];
        if (size != strlen(one.name) || strncmp(key, one.name, size)) continue;
        one.said = true;
        if (keep(one, value) && _changed) _changed(one.name);
      }
    tell("reported", false, &TelemetryHub::report);
  }

  // Whether it is another value than before; what is no value for it changes nothing.
  static bool keep(Setting& one, const char* value) {
    const bool none = !strncmp(value, "null", 4);
    if (one.number) {
      if (!none && (!HubJson::isNumber(value) || !within(one.spec, strtod(value, nullptr)))) return false;
      const float before = *one.number;
      *one.number = none ? one.initial.number : strtof(value, nullptr);
      return *one.number != before;
    }
    if (one.on) {
      if (!none && strncmp(value, "true", 4) && strncmp(value, "false", 5)) return false;
      const bool before = *one.on;
      *one.on = none ? one.initial.on : *value == 't';
      return *one.on != before;
    }
    char text[32];
    if (none) strcpy(text, one.initial.text);
    else if (!HubJson::text(value, text, one.room) || !offered(one.spec, text)) return false;
    const bool other = strcmp(one.text, text) != 0;
    strcpy(one.text, text);
    return other;
  }

  static bool offered(const char* spec, const char* text) {
    const char* options = HubJson::find(spec, "options");
    char option[32];
    if (!options) return true;
    while (const char* each = HubJson::element(options))
      if (HubJson::text(each, option, sizeof option) && !strcmp(option, text)) return true;
    return false;
  }

  uint32_t _version = 0;

  void report(HubWriter& out) {
    char number[16];
    snprintf(number, sizeof number, "%lu", static_cast<unsigned long>(_version));
    out.raw("{\"version\":").raw(number).raw(",\"values\":");
    values(out);
    out.raw("}");
  }

  void values(HubWriter& out) {
    const char* comma = "";
    out.raw("{");
    for (unsigned at = 0; at < _settings; ++at) {
      const Setting& one = _setting[at];
      if (!one.said) continue;
      char number[32];
      out.raw(comma).quoted(one.name).raw(":");
      comma = ",";
      if (one.number) {
        snprintf(number, sizeof number, "%.7g", static_cast<double>(*one.number));
        out.raw(number);
      } else if (one.on) {
        out.raw(*one.on ? "true" : "false");
      } else {
        out.quoted(one.text);
      }
    }
    out.raw("}");
  }
};
