/* The kernel skeletons of cl/ and shaders/, held in the library as text by tools/embed.py. */
#ifndef BINADE_ENGINE_EMBEDDED_H
#define BINADE_ENGINE_EMBEDDED_H

/* The text of "cl/prelude.cl", "shaders/prelude.comp", ...: constant, zero-terminated; NULL if there is no such
 * file. */
const char *bd_embedded_text(const char *name);

#endif
