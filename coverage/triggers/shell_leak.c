/* Lines of nothing but blanks, typed into the shell of xmllint, are never freed. */
#include "session.h"
#include <libxml/debugXML.h>
#include <libxml/parser.h>
#include <malloc.h>

#define LINES 1000
#define WIDTH 10000

static int lines;

static char *blank_line(char *prompt)
{
    (void)prompt;
    if (lines++ == LINES)
        return NULL;
    char *line = malloc(WIDTH);
    memset(line, ' ', WIDTH - 1);
    line[WIDTH - 1] = 0;
    return line;
}

void prepare(void) { xmlInitParser(); }

void hole(void)
{
    xmlDocPtr document = xmlReadMemory("<a/>", 4, "a.xml", NULL, 0);
    char name[] = "a.xml";
    size_t before = mallinfo2().uordblks;
    lines = 0;
    xmlShell(document, name, blank_line, stderr);
    size_t leaked = mallinfo2().uordblks - before;
    const char *share = leaked >= (size_t)LINES * WIDTH ? "all" : leaked < 2 * WIDTH ? "none" : "some";
    say("%s of %d lines leaked", share, LINES);
}
