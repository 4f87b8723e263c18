/*
 * test_etcd.c - the etcd registry on a real server: the conformance suite, then
 * what is its own.
 */
#include "tests/registry/etcd_conformance.h"

int main(void)
{
    return etcd_conformance(false);
}
