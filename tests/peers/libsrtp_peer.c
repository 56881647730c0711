// SPDX-License-Identifier: Apache-2.0 OR MIT

// libsrtp as a peer: protects and unprotects the packets that it reads from standard input.
//
//   libsrtp_peer SUITE SEND_KEY_HEX RECEIVE_KEY_HEX
//
// First it prints libsrtp's version and a line feed. Then each request is an operation ('p' protect
// RTP, 'P' protect RTCP, 'u' unprotect RTP, 'U' unprotect RTCP), the packet's length (16 bits, big
// endian) and the packet; each answer is libsrtp's status (0 for success), a length and a packet.

#include <srtp2/srtp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_KEY_LEN = 46, MAX_PACKET_LEN = 2048 };

struct suite {
    const char *name;
    size_t key_len;
    void (*rtp)(srtp_crypto_policy_t *);
    void (*rtcp)(srtp_crypto_policy_t *);
};

static const struct suite suites[] = {
    { "AES_CM_128_HMAC_SHA1_80", 30, srtp_crypto_policy_set_rtp_default,
      srtp_crypto_policy_set_rtcp_default },
    // RFC 4568 section 6.2.2: the tag of SRTCP keeps its 80 bits.
    { "AES_CM_128_HMAC_SHA1_32", 30, srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32,
      srtp_crypto_policy_set_rtcp_default },
    { "AEAD_AES_128_GCM", 28, srtp_crypto_policy_set_aes_gcm_128_16_auth,
      srtp_crypto_policy_set_aes_gcm_128_16_auth },
    { "AEAD_AES_256_GCM", 44, srtp_crypto_policy_set_aes_gcm_256_16_auth,
      srtp_crypto_policy_set_aes_gcm_256_16_auth },
};

static void fail(const char *what)
{
    fprintf(stderr, "libsrtp_peer: %s\n", what);
    exit(1);
}

static srtp_t session(const struct suite *suite, srtp_ssrc_type_t direction, const char *hex)
{
    unsigned char key[MAX_KEY_LEN];
    srtp_policy_t policy;
    srtp_t session;

    if (strlen(hex) != 2 * suite->key_len)
        fail("the key has the wrong length");
    for (size_t i = 0; i < suite->key_len; i++) {
        unsigned int byte;
        if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
            fail("the key is not hexadecimal");
        key[i] = (unsigned char)byte;
    }
    memset(&policy, 0, sizeof policy);
    suite->rtp(&policy.rtp);
    suite->rtcp(&policy.rtcp);
    policy.ssrc.type = direction;
    policy.key = key;
    policy.window_size = 1024;
    if (srtp_create(&session, &policy) != srtp_err_status_ok)
        fail("srtp_create failed: is libsrtp built without this suite?");
    return session;
}

int main(int argc, char **argv)
{
    static _Alignas(8) unsigned char packet[MAX_PACKET_LEN + SRTP_MAX_TRAILER_LEN];
    const struct suite *suite = NULL;
    srtp_t send, receive;
    unsigned char head[3];

    if (argc != 4)
        fail("usage: libsrtp_peer SUITE SEND_KEY_HEX RECEIVE_KEY_HEX");
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++)
        if (strcmp(suites[i].name, argv[1]) == 0)
            suite = &suites[i];
    if (suite == NULL)
        fail("unknown suite");
    if (srtp_init() != srtp_err_status_ok)
        fail("srtp_init failed");
    send = session(suite, ssrc_any_outbound, argv[2]);
    receive = session(suite, ssrc_any_inbound, argv[3]);
    printf("%s\n", srtp_get_version_string());
    fflush(stdout);

    while (fread(head, sizeof head, 1, stdin) == 1) {
        int len = head[1] << 8 | head[2];
        srtp_err_status_t status;

        if (len > MAX_PACKET_LEN)
            fail("the packet is too long");
        if (len > 0 && fread(packet, (size_t)len, 1, stdin) != 1)
            fail("the packet ends early");
        switch (head[0]) {
        case 'p': status = srtp_protect(send, packet, &len); break;
        case 'P': status = srtp_protect_rtcp(send, packet, &len); break;
        case 'u': status = srtp_unprotect(receive, packet, &len); break;
        case 'U': status = srtp_unprotect_rtcp(receive, packet, &len); break;
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
