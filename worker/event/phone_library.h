/* Inside this room: waking up libphonenumber. C and C++. */
#ifndef SIGNUP_EVENT_PHONE_LIBRARY_H
#define SIGNUP_EVENT_PHONE_LIBRARY_H

#ifdef __cplusplus
extern "C" {
#endif

/* Loads the metadata and silences the library's log. Idempotent. */
void phone_library_prepare(void);

#ifdef __cplusplus
}
#endif

#endif
