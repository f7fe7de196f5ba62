/* What Go's runtime/msan calls of the memory sanitizer's library, without doing anything. */
#include <stddef.h>

static inline void __msan_check_mem_is_initialized(const volatile void *address, size_t size) {}
static inline void __msan_unpoison(const volatile void *address, size_t size) {}
static inline void __msan_poison(const volatile void *address, size_t size) {}
static inline void __msan_copy_shadow(const volatile void *to, const volatile void *from, size_t size) {}
