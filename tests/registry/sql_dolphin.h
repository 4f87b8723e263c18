/*
 * sql_dolphin.h - beside DolphinScheduler, on the server that sql_store_use()
 * named. The numbers of failed tests.
 */
#ifndef PELORUS_TESTS_REGISTRY_SQL_DOLPHIN_H
#define PELORUS_TESTS_REGISTRY_SQL_DOLPHIN_H

int sql_dolphin_tests(void); /* its nodes, its clients, its bugs */
int sql_lock_tests(void);    /* its lock */

#endif
