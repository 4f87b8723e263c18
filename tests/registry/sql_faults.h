/*
 * sql_faults.h - what breaks, on the server that sql_store_use() named. The
 * number of failed tests.
 */
#ifndef PELORUS_TESTS_REGISTRY_SQL_FAULTS_H
#define PELORUS_TESTS_REGISTRY_SQL_FAULTS_H

int sql_fault_tests(void);

#endif
