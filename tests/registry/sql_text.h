/*
 * sql_text.h - what is written comes back, whatever it holds, on the server
 * that sql_store_use() named. The number of failed tests.
 */
#ifndef PELORUS_TESTS_REGISTRY_SQL_TEXT_H
#define PELORUS_TESTS_REGISTRY_SQL_TEXT_H

int sql_text_tests(void);

#endif
