/* An extension function that evaluates XPath, as EXSLT's dyn:evaluate does, calls itself without end. */
#include "session.h"
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <libxml/xpathInternals.h>

static void evaluate(xmlXPathParserContextPtr parser, int arguments)
{
    for (; arguments > 0; arguments--)
        xmlXPathFreeObject(valuePop(parser));
    xmlXPathObjectPtr value = xmlXPathEvalExpression(BAD_CAST "evaluate('again')", parser->context);
    if (value == NULL)
        xmlXPathErr(parser, XPATH_EXPR_ERROR);
    else
        valuePush(parser, value);
}

static void quiet(void *user, xmlErrorPtr error)
{
    int *first = user;
    if (*first == 0)
        *first = error->code;
}

void prepare(void) { xmlInitParser(); }

void hole(void)
{
    int first = 0;
    xmlDocPtr document = xmlReadMemory("<a/>", 4, "a.xml", NULL, 0);
    xmlXPathContextPtr context = xmlXPathNewContext(document);
    context->error = quiet;
    context->userData = &first;
    xmlXPathRegisterFunc(context, BAD_CAST "evaluate", evaluate);
    xmlXPathEvalExpression(BAD_CAST "evaluate('again')", context);
    say("error %d", first - XML_XPATH_EXPRESSION_OK);
}
