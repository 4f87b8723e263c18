/*
 * test_etcd_tls.c - the conformance suite on an etcd that takes only TLS with a
 * client's certificate, and users with a password.
 */
#include "tests/registry/etcd_conformance.h"

int main(void)
{
    return etcd_conformance(true);
}
