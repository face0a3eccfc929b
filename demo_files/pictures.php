<?php
// A picture service. Somebody sends a picture in any format, and gets it back as BMP.

header('X-Php: ' . getmypid());
$picture = imagecreatefromstring(file_get_contents('php://input'));
if ($picture === false) {
    http_response_code(400);
    exit;
}
header('Content-Type: image/bmp');
imagebmp($picture, null, false);
