// SPDX-License-Identifier: Apache-2.0 OR MIT

// The peers that are written in C, behind functions that take plain numbers and bytes. What the
// functions ask of their callers stands in ffi.rs.

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_LIBSRTP
#include <srtp2/srtp.h>

int bench_srtp_start(void) { return srtp_init() == srtp_err_status_ok; }

const char *bench_srtp_version(void) { return srtp_get_version_string(); }

// One session with one stream; NULL when this build of libsrtp has no such suite.
void *bench_srtp_new(int gcm, size_t key_len, const uint8_t *key_and_salt, uint32_t ssrc) {
    srtp_policy_t policy;
    memset(&policy, 0, sizeof policy);
    void (*set)(srtp_crypto_policy_t *);
    if (gcm)
        set = key_len == 16 ? srtp_crypto_policy_set_aes_gcm_128_16_auth
                            : srtp_crypto_policy_set_aes_gcm_256_16_auth;
    else
        set = key_len == 16 ? srtp_crypto_policy_set_rtp_default
                            : srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80;
    set(&policy.rtp);
    set(&policy.rtcp);
    policy.ssrc.type = ssrc_specific;
    policy.ssrc.value = ssrc;
    policy.key = (unsigned char *)key_and_salt;
    policy.window_size = 128;
    srtp_t session;
    return srtp_create(&session, &policy) == srtp_err_status_ok ? session : NULL;
}

void bench_srtp_free(void *session) { srtp_dealloc(session); }

int bench_srtp_protect(void *session, uint8_t *packet, int len) {
    return srtp_protect(session, packet, &len) == srtp_err_status_ok;
}

int bench_srtp_unprotect(void *session, uint8_t *packet, int len) {
    return srtp_unprotect(session, packet, &len) == srtp_err_status_ok;
}
#endif

#ifdef HAVE_IPSEC_MB
#include <intel-ipsec-mb.h>

#if IMB_VERSION_NUM >= IMB_VERSION(1, 4, 0)
#define HAS_SESSIONS
#endif

enum { BURST = 64, HEADER = 12, CM_TAG = 10, GCM_TAG = 16 };

enum api { API_JOB, API_BURST, API_CIPHER_HASH_BURST, API_DIRECT };

// As in ffi.rs.
struct item {
    uint32_t offset, len, stream, roc;
    uint8_t iv[16];
};

struct cm_key {
    _Alignas(64) uint8_t enc[16 * 15];
    uint8_t ipad[20], opad[20];
};

struct mb {
    IMB_MGR *mgr;
    int gcm;
    size_t key_len;
    struct cm_key *cm_keys;
    struct gcm_key_data *gcm_keys;
    struct gcm_context_data context;
    uint8_t sent[BURST][16];
    uint8_t found[BURST][32];
    IMB_JOB jobs[BURST];
#ifdef HAS_SESSIONS
    IMB_JOB templates[2];
#endif
};

const char *bench_mb_version(void) { return imb_get_version_str(); }

void bench_mb_free(struct mb *mb) {
    free_mb_mgr(mb->mgr);
    free(mb->cm_keys);
    free(mb->gcm_keys);
    free(mb);
}

static void start_sessions(struct mb *mb);

// NULL when the CPU has not what this path needs.
struct mb *bench_mb_new(int isa, int gcm, size_t key_len, size_t streams) {
    struct mb *mb = aligned_alloc(64, (sizeof *mb + 63) / 64 * 64);
    if (!mb)
        return NULL;
    memset(mb, 0, sizeof *mb);
    mb->gcm = gcm;
    mb->key_len = key_len;
    mb->mgr = alloc_mb_mgr(0);
    if (!mb->mgr) {
        free(mb);
        return NULL;
    }
    if (isa == 0)
        init_mb_mgr_sse(mb->mgr);
    else if (isa == 1)
        init_mb_mgr_avx2(mb->mgr);
    else
        init_mb_mgr_avx512(mb->mgr);
    const size_t size = streams * (gcm ? sizeof *mb->gcm_keys : sizeof *mb->cm_keys);
    void *keys = imb_get_errno(mb->mgr) ? NULL : aligned_alloc(64, (size + 63) / 64 * 64);
    if (!keys) {
        bench_mb_free(mb);
        return NULL;
    }
    memset(keys, 0, size);
    mb->gcm_keys = gcm ? keys : NULL;
    mb->cm_keys = gcm ? NULL : keys;
    start_sessions(mb);
    return mb;
}

void bench_mb_set_key(struct mb *mb, size_t stream, const uint8_t *cipher, const uint8_t *auth) {
    if (mb->gcm) {
        struct gcm_key_data *key = &mb->gcm_keys[stream];
        if (mb->key_len == 16)
            IMB_AES128_GCM_PRE(mb->mgr, cipher, key);
        else
            IMB_AES256_GCM_PRE(mb->mgr, cipher, key);
        return;
    }
    struct cm_key *key = &mb->cm_keys[stream];
    _Alignas(16) uint8_t unused[16 * 15];
    if (mb->key_len == 16)
        IMB_AES_KEYEXP_128(mb->mgr, cipher, key->enc, unused);
    else
        IMB_AES_KEYEXP_256(mb->mgr, cipher, key->enc, unused);
    uint8_t block[64];
    memset(block, 0x36, sizeof block);
    for (int i = 0; i < 20; i++)
        block[i] ^= auth[i];
    IMB_SHA1_ONE_BLOCK(mb->mgr, block, key->ipad);
    memset(block, 0x5c, sizeof block);
    for (int i = 0; i < 20; i++)
        block[i] ^= auth[i];
    IMB_SHA1_ONE_BLOCK(mb->mgr, block, key->opad);
}

// What all jobs of one direction have in common. ipsec-mb is at its fastest with tags of 12 bytes,
// where SRTP has 10; before 3.0 it knows no other.
static inline void fill_template(const struct mb *mb, IMB_JOB *job, int unprotect) {
    job->key_len_in_bytes = mb->key_len;
    job->cipher_direction = unprotect ? IMB_DIR_DECRYPT : IMB_DIR_ENCRYPT;
    job->chain_order = unprotect ? IMB_ORDER_HASH_CIPHER : IMB_ORDER_CIPHER_HASH;
    job->cipher_start_src_offset_in_bytes = HEADER;
    if (mb->gcm) {
        job->hash_start_src_offset_in_bytes = HEADER;
        job->iv_len_in_bytes = 12;
        job->auth_tag_output_len_in_bytes = GCM_TAG;
        job->u.GCM.aad_len_in_bytes = HEADER;
        job->cipher_mode = IMB_CIPHER_GCM;
        job->hash_alg = IMB_AUTH_AES_GMAC;
    } else {
        job->hash_start_src_offset_in_bytes = 0;
        job->iv_len_in_bytes = 16;
        job->auth_tag_output_len_in_bytes = 12;
        job->cipher_mode = IMB_CIPHER_CNTR;
        job->hash_alg = IMB_AUTH_HMAC_SHA_1;
    }
}

// Newer versions dispatch jobs by the session that they belong to, and leave what is common to a
// session as it is in the job.
static void start_sessions(struct mb *mb) {
#ifdef HAS_SESSIONS
    for (int unprotect = 0; unprotect < 2; unprotect++) {
        fill_template(mb, &mb->templates[unprotect], unprotect);
        imb_set_session(mb->mgr, &mb->templates[unprotect]);
    }
#else
    (void)mb;
#endif
}

// Protecting, ipsec-mb may write all of its tag behind the packet, over the ROC, which it has
// hashed by then.
static inline void fill(struct mb *mb, IMB_JOB *job, const struct item *item, int unprotect,
                        uint8_t *packet, size_t i) {
#ifdef HAS_SESSIONS
    if (job->session_id != mb->templates[unprotect].session_id)
        *job = mb->templates[unprotect];
#else
    fill_template(mb, job, unprotect);
#endif
    uint8_t *trailer = packet + item->len;
    job->src = packet;
    job->dst = packet + HEADER;
    job->msg_len_to_cipher_in_bytes = item->len - HEADER;
    job->iv = item->iv;
    job->auth_tag_output = unprotect ? mb->found[i] : trailer;
    if (mb->gcm) {
        const struct gcm_key_data *key = &mb->gcm_keys[item->stream];
        job->enc_keys = key;
        job->dec_keys = key;
        job->msg_len_to_hash_in_bytes = item->len - HEADER;
        job->u.GCM.aad = packet;
    } else {
        if (unprotect)
            memcpy(mb->sent[i], trailer, CM_TAG);
        const uint32_t roc = __builtin_bswap32(item->roc);
        memcpy(trailer, &roc, sizeof roc);
        const struct cm_key *key = &mb->cm_keys[item->stream];
        job->enc_keys = key->enc;
        job->dec_keys = key->enc;
        job->msg_len_to_hash_in_bytes = item->len + sizeof roc;
        job->u.HMAC._hashed_auth_key_xor_ipad = key->ipad;
        job->u.HMAC._hashed_auth_key_xor_opad = key->opad;
    }
}

static void run_jobs(struct mb *mb, int unprotect, uint8_t *frames, const struct item *items,
                     size_t n) {
    for (size_t i = 0; i < n; i++) {
        IMB_JOB *job = IMB_GET_NEXT_JOB(mb->mgr);
        fill(mb, job, &items[i], unprotect, frames + items[i].offset, i);
        job = IMB_SUBMIT_JOB_NOCHECK(mb->mgr);
        while (job)
            job = IMB_GET_COMPLETED_JOB(mb->mgr);
    }
    while (IMB_FLUSH_JOB(mb->mgr))
        ;
}

static void run_burst(struct mb *mb, int unprotect, uint8_t *frames, const struct item *items,
                      uint32_t n) {
    IMB_JOB *jobs[BURST];
    if (IMB_GET_NEXT_BURST(mb->mgr, n, jobs) != n)
        abort(); // The queue is longer, and empty between two calls.
    for (size_t i = 0; i < n; i++)
        fill(mb, jobs[i], &items[i], unprotect, frames + items[i].offset, i);
    uint32_t done = IMB_SUBMIT_BURST_NOCHECK(mb->mgr, n, jobs);
    while (done < n)
        done += IMB_FLUSH_BURST(mb->mgr, n - done, jobs);
}

static void run_cipher_hash_burst(struct mb *mb, int unprotect, uint8_t *frames,
                                  const struct item *items, uint32_t n) {
    const IMB_KEY_SIZE_BYTES size = mb->key_len == 16 ? IMB_KEY_128_BYTES : IMB_KEY_256_BYTES;
    for (size_t i = 0; i < n; i++)
        fill(mb, &mb->jobs[i], &items[i], unprotect, frames + items[i].offset, i);
    if (unprotect)
        IMB_SUBMIT_HASH_BURST_NOCHECK(mb->mgr, mb->jobs, n, IMB_AUTH_HMAC_SHA_1);
    IMB_SUBMIT_CIPHER_BURST_NOCHECK(mb->mgr, mb->jobs, n, IMB_CIPHER_CNTR,
                                    unprotect ? IMB_DIR_DECRYPT : IMB_DIR_ENCRYPT, size);
    if (!unprotect)
        IMB_SUBMIT_HASH_BURST_NOCHECK(mb->mgr, mb->jobs, n, IMB_AUTH_HMAC_SHA_1);
}

static void run_direct(struct mb *mb, int unprotect, uint8_t *frames, const struct item *items,
                       size_t n) {
    const aes_gcm_enc_dec_t gcm =
        mb->key_len == 16 ? (unprotect ? mb->mgr->gcm128_dec : mb->mgr->gcm128_enc)
                          : (unprotect ? mb->mgr->gcm256_dec : mb->mgr->gcm256_enc);
    for (size_t i = 0; i < n; i++) {
        const struct item *item = &items[i];
        uint8_t *packet = frames + item->offset;
        gcm(&mb->gcm_keys[item->stream], &mb->context, packet + HEADER, packet + HEADER,
            item->len - HEADER, item->iv, packet, HEADER,
            unprotect ? mb->found[i] : packet + item->len, GCM_TAG);
    }
}

// ipsec-mb leaves it to its callers to fetch keys into the cache before they are needed.
static void prefetch_keys(const struct mb *mb, const struct item *items, size_t n) {
    const size_t size = mb->gcm ? sizeof *mb->gcm_keys : sizeof *mb->cm_keys;
    const uint8_t *keys = mb->gcm ? (const uint8_t *)mb->gcm_keys : (const uint8_t *)mb->cm_keys;
    for (size_t i = 0; i < n; i++)
        for (size_t at = 0; at < size; at += 64)
            __builtin_prefetch(keys + items[i].stream * size + at);
}

// How many of the packets have a wrong tag.
size_t bench_mb_run(struct mb *mb, int api, int prefetch, int unprotect, uint8_t *frames,
                    const struct item *items, size_t n) {
    if (prefetch)
        prefetch_keys(mb, items, n);
    if (api == API_JOB)
        run_jobs(mb, unprotect, frames, items, n);
    else if (api == API_BURST)
        run_burst(mb, unprotect, frames, items, n);
    else if (api == API_CIPHER_HASH_BURST)
        run_cipher_hash_burst(mb, unprotect, frames, items, n);
    else
        run_direct(mb, unprotect, frames, items, n);
    size_t wrong = 0;
    for (size_t i = 0; unprotect && i < n; i++) {
        const uint8_t *sent =
            mb->gcm ? frames + items[i].offset + items[i].len : mb->sent[i];
        wrong += memcmp(sent, mb->found[i], mb->gcm ? GCM_TAG : CM_TAG) != 0;
    }
    return wrong;
}
#endif
