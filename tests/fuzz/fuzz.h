/*
 * fuzz.h - a fuzz target: one function of any bytes, which must neither crash
 * nor break what it asserts.
 *
 * fuzz_NAME.c is linked twice: with libFuzzer (`make fuzz`), which looks for
 * inputs, and with replay.c (make check), which runs those in
 * tests/fuzz/corpus/NAME and some mutations of each.
 */
#ifndef PELORUS_TESTS_FUZZ_FUZZ_H
#define PELORUS_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
