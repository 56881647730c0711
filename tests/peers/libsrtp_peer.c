// SPDX-License-Identifier: Apache-2.0 OR MIT

// libsrtp as a peer: protects and unprotects the packets that it reads from standard input.
//
//   libsrtp_peer SUITE SEND_KEY_HEX RECEIVE_KEY_HEX [OPTION...]
//
//   mki=HEX           both keys have this identifier
//   extension=ID      this element of header extensions is encrypted (RFC 6904)
//   cryptex           header extensions and CSRCs are encrypted (RFC 9335)
//
// First it prints libsrtp's version and a line feed, or nothing and ends with status 3 when libsrtp
// cannot do this. Then each request is an operation ('p' protect RTP, 'P' protect RTCP, 'u' unprotect
// RTP, 'U' unprotect RTCP), the packet's length (16 bits, big endian) and the packet; each answer is
// libsrtp's status (0 for success), a length and a packet.

#include <srtp2/srtp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_KEY_LEN = 46,
    MAX_MKI_LEN = 16,
    MAX_EXTENSIONS = 8,
    MAX_PACKET_LEN = 4096,
    UNSUPPORTED = 3,
};

struct suite {
    const char *name;
    size_t key_len;
    void (*rtp)(srtp_crypto_policy_t *);
    void (*rtcp)(srtp_crypto_policy_t *);
};

static void null_32(srtp_crypto_policy_t *policy)
{
    srtp_crypto_policy_set_null_cipher_hmac_sha1_80(policy);
    policy->auth_tag_len = 4;
}

// RFC 4568 section 6.2.2, RFC 6188 section 4: the tag of SRTCP keeps its 80 bits.
static const struct suite suites[] = {
    { "AES_CM_128_HMAC_SHA1_80", 30, srtp_crypto_policy_set_rtp_default,
      srtp_crypto_policy_set_rtcp_default },
    { "AES_CM_128_HMAC_SHA1_32", 30, srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32,
      srtp_crypto_policy_set_rtcp_default },
    { "AES_192_CM_HMAC_SHA1_80", 38, srtp_crypto_policy_set_aes_cm_192_hmac_sha1_80,
      srtp_crypto_policy_set_aes_cm_192_hmac_sha1_80 },
    { "AES_192_CM_HMAC_SHA1_32", 38, srtp_crypto_policy_set_aes_cm_192_hmac_sha1_32,
      srtp_crypto_policy_set_aes_cm_192_hmac_sha1_80 },
    { "AES_256_CM_HMAC_SHA1_80", 46, srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80,
      srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80 },
    { "AES_256_CM_HMAC_SHA1_32", 46, srtp_crypto_policy_set_aes_cm_256_hmac_sha1_32,
      srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80 },
    { "NULL_HMAC_SHA1_80", 30, srtp_crypto_policy_set_null_cipher_hmac_sha1_80,
      srtp_crypto_policy_set_null_cipher_hmac_sha1_80 },
    { "NULL_HMAC_SHA1_32", 30, null_32, srtp_crypto_policy_set_null_cipher_hmac_sha1_80 },
    { "AEAD_AES_128_GCM", 28, srtp_crypto_policy_set_aes_gcm_128_16_auth,
      srtp_crypto_policy_set_aes_gcm_128_16_auth },
    { "AEAD_AES_256_GCM", 44, srtp_crypto_policy_set_aes_gcm_256_16_auth,
      srtp_crypto_policy_set_aes_gcm_256_16_auth },
};

static unsigned char mki[MAX_MKI_LEN];
static size_t mki_len;
static int extensions[MAX_EXTENSIONS];
static int extension_count;
static int cryptex;

// Not in every libsrtp 2.
extern srtp_err_status_t srtp_set_stream_use_cryptex(srtp_t, const srtp_ssrc_t *, int)
    __attribute__((weak));

static void fail(const char *what)
{
    fprintf(stderr, "libsrtp_peer: %s\n", what);
    exit(1);
}

static size_t from_hex(const char *hex, unsigned char *bytes, size_t most)
{
    size_t len = strlen(hex) / 2;

    if (strlen(hex) % 2 != 0 || len > most)
        fail("a key or an MKI has the wrong length");
    for (size_t i = 0; i < len; i++)
        if (sscanf(hex + 2 * i, "%2hhx", &bytes[i]) != 1)
            fail("a key or an MKI is not hexadecimal");
    return len;
}

static srtp_t session(const struct suite *suite, srtp_ssrc_type_t direction, const char *hex)
{
    unsigned char key[MAX_KEY_LEN];
    srtp_master_key_t master = { key, mki, (unsigned int)mki_len };
    srtp_master_key_t *masters[] = { &master };
    srtp_policy_t policy;
    srtp_t session;

    if (from_hex(hex, key, sizeof key) != suite->key_len)
        fail("the key has the wrong length");
    memset(&policy, 0, sizeof policy);
    suite->rtp(&policy.rtp);
    suite->rtcp(&policy.rtcp);
    policy.ssrc.type = direction;
    if (mki_len > 0) {
        policy.keys = masters;
        policy.num_master_keys = 1;
    } else {
        policy.key = key;
    }
    policy.window_size = 1024;
    policy.enc_xtn_hdr = extensions;
    policy.enc_xtn_hdr_count = extension_count;
    if (srtp_create(&session, &policy) != srtp_err_status_ok)
        exit(UNSUPPORTED);
    if (cryptex
        && (!srtp_set_stream_use_cryptex
            || srtp_set_stream_use_cryptex(session, &policy.ssrc, 1) != srtp_err_status_ok))
        exit(UNSUPPORTED);
    return session;
}

static void option(const char *text)
{
    if (strncmp(text, "mki=", 4) == 0)
        mki_len = from_hex(text + 4, mki, sizeof mki);
    else if (strncmp(text, "extension=", 10) == 0 && extension_count < MAX_EXTENSIONS)
        extensions[extension_count++] = atoi(text + 10);
    else if (strcmp(text, "cryptex") == 0)
        cryptex = 1;
    else
        fail("unknown option");
}

int main(int argc, char **argv)
{
    static _Alignas(8) unsigned char packet[MAX_PACKET_LEN + SRTP_MAX_TRAILER_LEN];
    const struct suite *suite = NULL;
    srtp_t send, receive;
    unsigned char head[3];

    if (argc < 4)
        fail("usage: libsrtp_peer SUITE SEND_KEY_HEX RECEIVE_KEY_HEX [OPTION...]");
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++)
        if (strcmp(suites[i].name, argv[1]) == 0)
            suite = &suites[i];
    if (suite == NULL)
        fail("unknown suite");
    for (int i = 4; i < argc; i++)
        option(argv[i]);
    if (srtp_init() != srtp_err_status_ok)
        fail("srtp_init failed");
    send = session(suite, ssrc_any_outbound, argv[2]);
    receive = session(suite, ssrc_any_inbound, argv[3]);
    printf("%s\n", srtp_get_version_string());
    fflush(stdout);

    while (fread(head, sizeof head, 1, stdin) == 1) {
        int len = head[1] << 8 | head[2];
        unsigned int with_mki = mki_len > 0;
        srtp_err_status_t status;

        if (len > MAX_PACKET_LEN)
            fail("the packet is too long");
        if (len > 0 && fread(packet, (size_t)len, 1, stdin) != 1)
            fail("the packet ends early");
        switch (head[0]) {
        case 'p': status = srtp_protect_mki(send, packet, &len, with_mki, 0); break;
        case 'P': status = srtp_protect_rtcp_mki(send, packet, &len, with_mki, 0); break;
        case 'u': status = srtp_unprotect_mki(receive, packet, &len, with_mki); break;
        case 'U': status = srtp_unprotect_rtcp_mki(receive, packet, &len, with_mki); break;
        default: fail("unknown operation"); return 1;
        }
        if (status != srtp_err_status_ok)
            len = 0;
        head[0] = (unsigned char)status;
        head[1] = (unsigned char)(len >> 8);
        head[2] = (unsigned char)len;
        fwrite(head, sizeof head, 1, stdout);
        fwrite(packet, (size_t)len, 1, stdout);
        fflush(stdout);
    }
    return 0;
}
