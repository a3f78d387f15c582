/* libFuzzer's entry point, for the programs that call it themselves. */
#ifndef SIGNUP_TESTS_FUZZ_SIGNUP_H
#define SIGNUP_TESTS_FUZZ_SIGNUP_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
