// A stub of mbedtls's message digests: SHA-256 (FIPS 180-4) alone, of a whole text.
#pragma once

#include <cstdint>
#include <string>

enum { MBEDTLS_MD_SHA256 };
struct mbedtls_md_context_t {
  std::string text;
};

inline void mbedtls_md_init(mbedtls_md_context_t*) {}
inline void mbedtls_md_free(mbedtls_md_context_t*) {}
inline int mbedtls_md_info_from_type(int type) { return type; }
inline int mbedtls_md_setup(mbedtls_md_context_t*, int, int) { return 0; }
inline int mbedtls_md_starts(mbedtls_md_context_t*) { return 0; }
inline int mbedtls_md_update(mbedtls_md_context_t* digest, const uint8_t* from, size_t size) {
  digest->text.append(reinterpret_cast<const char*>(from), size);
  return 0;
}

// The first 32 bits of the fractional part of a root of a prime number.
inline uint32_t fraction(unsigned prime, bool cube) {
  const unsigned __int128 scaled = static_cast<unsigned __int128>(prime) << (cube ? 96 : 64);
  unsigned __int128 root = 0;
  for (int bit = 36; bit >= 0; --bit) {
    const unsigned __int128 next = root | static_cast<unsigned __int128>(1) << bit;
    if ((cube ? next * next * next : next * next) <= scaled) root = next;
  }
  return static_cast<uint32_t>(root);
}

inline int mbedtls_md_finish(mbedtls_md_context_t* digest, uint8_t* into) {
  uint32_t roots[64], state[8];
  for (unsigned found = 0, prime = 2; found < 64; ++prime) {
    bool is = true;
    for (unsigned by = 2; by * by <= prime; ++by) is = is && prime % by;
    if (!is) continue;
    if (found < 8) state[found] = fraction(prime, false);
    roots[found++] = fraction(prime, true);
  }
  std::string text = digest->text + '\x80';
  while (text.size() % 64 != 56) text += '\0';
  for (int byte = 7; byte >= 0; --byte)
    text += static_cast<char>(static_cast<uint64_t>(digest->text.size()) * 8 >> (8 * byte));
  const auto turned = [](uint32_t word, int by) { return word >> by | word << (32 - by); };
  for (size_t block = 0; block < text.size(); block += 64) {
    uint32_t w[64], s[8];
    for (size_t i = 0; i < 16; ++i) {
      w[i] = 0;
      for (size_t byte = 0; byte < 4; ++byte) w[i] = w[i] << 8 | static_cast<uint8_t>(text[block + 4 * i + byte]);
    }
    for (int i = 16; i < 64; ++i)
      w[i] = w[i - 16] + (turned(w[i - 15], 7) ^ turned(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
             (turned(w[i - 2], 17) ^ turned(w[i - 2], 19) ^ w[i - 2] >> 10);
    for (int i = 0; i < 8; ++i) s[i] = state[i];
    for (int i = 0; i < 64; ++i) {
      const uint32_t one = s[7] + (turned(s[4], 6) ^ turned(s[4], 11) ^ turned(s[4], 25)) +
                           ((s[4] & s[5]) ^ (~s[4] & s[6])) + roots[i] + w[i];
      const uint32_t two = (turned(s[0], 2) ^ turned(s[0], 13) ^ turned(s[0], 22)) +
                           ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
      for (int at = 7; at; --at) s[at] = s[at - 1];
      s[4] += one;
      s[0] = one + two;
    }
    for (int i = 0; i < 8; ++i) state[i] += s[i];
  }
  for (int i = 0; i < 32; ++i) into[i] = static_cast<uint8_t>(state[i / 4] >> (24 - 8 * (i % 4)));
  return 0;
}
