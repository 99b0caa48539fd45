// An update of an ESP32: fetched over HTTP in pieces, written as it comes, and set to start only if its digest fits.
#pragma once

#ifdef ESP32
#include <HTTPClient.h>
#include <Update.h>
#include <mbedtls/md.h>

#include "TelemetryHub.h"

class HubUpdate {
 public:
  // Fetch and install what the command names, and say how it goes. True: the next restart starts it.
  // `net` is for this alone, and has TLS if the hub's address has.
  template <class Network>
  static bool install(HubCommand& asked, Network& net, const char* key, const char* secret) {
    HubUpdate update(asked);
    if (!update.asks()) return asked.reject("it names no file"), false;
    if (!Update.begin(update._size)) return asked.fail("there is no room for it"), false;
    if (update.fetched(net, key, secret) && update.isRight() && Update.end(true)) {
      asked.progress(1, "installing");
      return true;
    }
    if (!update._why) update._why = "it could not be written";
    Update.abort();
    asked.fail(update._why);
    return false;
  }

 private:
  HubCommand& _asked;
  const char* _why = nullptr;
  char _url[256];
  char _sha256[65];
  uint32_t _size = 0, _here = 0;
  mbedtls_md_context_t _digest;

  explicit HubUpdate(HubCommand& asked) : _asked(asked) {
    mbedtls_md_init(&_digest);
    mbedtls_md_setup(&_digest, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), 0);
    mbedtls_md_starts(&_digest);
  }
  ~HubUpdate() { mbedtls_md_free(&_digest); }
  HubUpdate(const HubUpdate&) = delete;

  bool asks() {
    _size = HubJson::counter(HubJson::find(_asked.argument, "size"));
    return _size && HubJson::text(HubJson::find(_asked.argument, "url"), _url, sizeof _url) &&
           HubJson::text(HubJson::find(_asked.argument, "sha256"), _sha256, sizeof _sha256);
  }

  // What was cut off goes on where it was.
  template <class Network>
  bool fetched(Network& net, const char* key, const char* secret) {
    for (int attempt = 0; attempt < 8 && !_why; ++attempt) {
      if (attempt) delay(1000UL << (attempt - 1));
      HTTPClient http;
      if (!http.begin(net, _url)) continue;
      char range[32];
      snprintf(range, sizeof range, "bytes=%lu-", static_cast<unsigned long>(_here));
      http.setAuthorization(key, secret);
      http.addHeader("Range", range);
      const int status = http.GET();
      if (status == 206 || (status == 200 && !_here)) take(http);
      else if (status >= 200 && status < 500) _why = "the hub does not give the file out";
      http.end();
      if (_here == _size) return true;
    }
    if (!_why) _why = "the download was cut too often";
    return false;
  }

  void take(HTTPClient& http) {
    auto* stream = http.getStreamPtr();
    uint8_t piece[1024];
    unsigned long told = millis() - 5000, quiet = millis();
    while (_here < _size && !_why && millis() - quiet < 15000) {
      if (millis() - told >= 3000) {
        told = millis();
        _asked.progress(static_cast<float>(_here) / _size, "downloading");
      }
      if (stream->available() <= 0) {
        if (!stream->connected()) return;
        delay(2);
        continue;
      }
      const int size = stream->read(piece, _size - _here < sizeof piece ? _size - _here : sizeof piece);
      if (size <= 0) return;
      quiet = millis();
      if (Update.write(piece, static_cast<size_t>(size)) != static_cast<size_t>(size)) _why = "it could not be written";
      mbedtls_md_update(&_digest, piece, static_cast<size_t>(size));
      _here += static_cast<uint32_t>(size);
    }
  }

  bool isRight() {
    _asked.progress(1, "downloaded");
    uint8_t digest[32];
    char text[65];
    mbedtls_md_finish(&_digest, digest);
    for (int at = 0; at < 32; ++at) snprintf(text + 2 * at, 3, "%02x", digest[at]);
    if (strcmp(text, _sha256)) {
      _why = "the file is not the one that was announced";
      return false;
    }
    _asked.progress(1, "verified");
    return true;
  }
};
#endif
