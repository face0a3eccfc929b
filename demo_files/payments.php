<?php
// A payment service. An order arrives as a CMS AuthEnvelopedData message (RFC 5083): encrypted for this service, and
// protected by an authentication tag so that nobody on the way can change it. The answer says what would be paid.

$in = tempnam(sys_get_temp_dir(), 'in');
$out = tempnam(sys_get_temp_dir(), 'out');
file_put_contents($in, file_get_contents('php://input'));
$accepted = openssl_cms_decrypt(
    $in,
    $out,
    'file://' . $_SERVER['SERVICE_CERTIFICATE'],
    'file://' . $_SERVER['SERVICE_KEY'],
    OPENSSL_ENCODING_DER
);
$answer = [
    'pid' => getmypid(),
    'accepted' => $accepted,
    'order' => $accepted ? file_get_contents($out) : '',
    'error' => $accepted ? '' : (string) openssl_error_string(),
];
unlink($in);
unlink($out);
http_response_code($accepted ? 200 : 400);
header('Content-Type: application/json');
echo json_encode($answer);
