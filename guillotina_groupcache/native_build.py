"""The C declarations of the Go library, for cffi's out-of-line ABI mode.

Building the package runs this file, which writes `_native_abi.py`; that needs no compiler and loads no library. The
exports in go/main.go say what the functions do.
"""

from cffi import FFI

ffi = FFI()
ffi.set_source("guillotina_groupcache._native_abi", None)
ffi.cdef(
    """
    typedef struct {
        uint64_t version;
        int64_t expires;
        uint32_t bucket;
        uint32_t deadline;
        uint8_t source;
    } gc_found;
    int64_t gc_error(uint8_t *buf, size_t size);
    int64_t gc_open(const uint8_t *config, size_t size);
    int64_t gc_close(int64_t handle);
    int64_t gc_leave(int64_t handle);
    int64_t gc_fd(int64_t handle);
    int64_t gc_drain(int64_t handle, uint8_t *buf, size_t size);
    int64_t gc_get(int64_t handle, uint64_t request, const uint8_t *key, size_t key_size,
                   uint8_t *buf, size_t size, gc_found *found);
    int64_t gc_version(int64_t handle, const uint8_t *key, size_t key_size, uint64_t *version);
    int64_t gc_table(int64_t handle, size_t *words);
    int64_t gc_database(int64_t handle, const uint8_t *id, size_t id_size, const uint8_t *prefix, size_t size);
    int64_t gc_unserve(int64_t handle, const uint8_t *id, size_t size);
    int64_t gc_read(int64_t handle, uint64_t request, const uint8_t *keys, size_t size);
    int64_t gc_warm(int64_t handle, uint64_t request, const uint8_t *keys, size_t size);
    int64_t gc_loaded(int64_t handle, uint64_t load, const uint8_t *results, size_t size, int failed);
    int64_t gc_announce(int64_t handle, const uint8_t *database, size_t database_size,
                        const uint8_t *keys, size_t size, int all);
    int64_t gc_settle(int64_t handle, uint64_t event, const uint8_t *pushes, size_t size);
    int64_t gc_lost(int64_t handle, uint64_t event);
    int64_t gc_outside_write(int64_t handle, uint64_t id, uint64_t nonce, int all, uint64_t rows,
                             const uint8_t *application, size_t application_size,
                             const uint8_t *keys, size_t size);
    int64_t gc_answer(int64_t handle, uint64_t query, const uint8_t *answer, size_t size);
    int64_t gc_constants(uint8_t *buf, size_t size);
    int64_t gc_stats(int64_t handle, uint8_t *buf, size_t size);
    int64_t gc_peer_stats(int64_t handle, uint64_t request);
    """
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
