/*
 * sql_compare.h - what was told and what stands there, on the server that
 * sql_store_use() named. The number of failed tests.
 */
#ifndef PELORUS_TESTS_REGISTRY_SQL_COMPARE_H
#define PELORUS_TESTS_REGISTRY_SQL_COMPARE_H

int sql_compare_tests(void);

#endif
