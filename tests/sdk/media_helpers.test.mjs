// The SDK's media helpers build paths for the vendor's hosts; with the host replaced and the link's
// token added, they open our transforms (contract §10).

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { media } from '@wix/sdk';

import { makeClient, newContact, photo, restHeaders, servers, upload } from './support.mjs';

/** Uploads a picture and returns what the SDK and plain REST show of it. */
async function picture(server, width, height) {
  const client = makeClient(server);
  const contactId = newContact();
  await upload(client, contactId, photo('wide.png', width, height));
  const response = await fetch(`${server.http}/contacts/v4/attachments/${contactId}`, {
    headers: restHeaders(server),
  });
  const { id, url } = (await response.json()).attachments[0].image;
  return { image: `wix:image://v1/${id}/wide.png#originWidth=${width}&originHeight=${height}`, url };
}

/** Opens a helper's URL on our host. */
async function open(helped, link) {
  const own = new URL(link);
  const url = new URL(new URL(helped).pathname, own);
  url.search = own.search;
  return fetch(url);
}

/** Width and height of a JPEG, from its frame header. */
async function sizeOf(response) {
  assert.equal(response.status, 200, await response.clone().text());
  assert.equal(response.headers.get('content-type'), 'image/jpeg');
  const bytes = Buffer.from(await response.arrayBuffer());
  for (let at = 2; at < bytes.length; at += 2 + bytes.readUInt16BE(at + 2)) {
    if ([0xc0, 0xc1, 0xc2].includes(bytes[at + 1])) {
      return [bytes.readUInt16BE(at + 7), bytes.readUInt16BE(at + 5)];
    }
  }
  return assert.fail('no frame header');
}

test('with "any", every URL of the helpers opens', async () => {
  const { image, url } = await picture(servers.id, 900, 600);
  const options = {
    focalPoint: { x: 10, y: 90 },
    quality: 50,
    filters: { contrast: 10, brightness: -20, saturation: 3.5, hue: 100, blur: 5 },
    unsharpMask: { radius: 1.5, amount: 2, threshold: 0.1 },
    encoding: 'AVIF',
    progressive: false,
  };
  for (const helped of [
    // The helpers take wide pictures for tall ones, so their URLs do not always have the requested
    // size.
    media.getScaledToFillImageUrl(image, 640, 480, {}),
    media.getScaledToFillImageUrl(image, 123, 77, {}),
    media.getScaledToFitImageUrl(image, 640, 480, {}),
    media.getCroppedImageUrl(image, 10, 20, 300, 400, 150, 200, {}),
    media.getScaledToFillImageUrl(image, 300, 300, options),
  ]) {
    const size = [...helped.matchAll(/w_(\d+),h_(\d+)/g)].at(-1).slice(1).map(Number);
    assert.deepEqual(await sizeOf(await open(helped, url)), size, helped);
  }
});

test('with "any", a size that is not a number is reported by name', async () => {
  const { image, url } = await picture(servers.id, 900, 600);
  const response = await open(media.getCroppedImageUrl(image, 10, 20, 300, 400), url);
  assert.equal(response.status, 400);
  const { fieldViolations } = (await response.json()).details.validationError;
  assert.deepEqual(fieldViolations.map(({ field, violatedRule }) => [field, violatedRule]), [
    ['w', 'FORMAT'], ['h', 'FORMAT'],
  ]);
});

test('with presets, common sizes of large enough pictures open and others do not', async () => {
  const { image, url } = await picture(servers.auto, 1300, 1300);
  for (const [width, height] of [[200, 200], [640, 480], [480, 640], [1280, 720]]) {
    const response = await open(media.getScaledToFillImageUrl(image, width, height, {}), url);
    assert.deepEqual(await sizeOf(response), [width, height]);
  }
  const other = await open(media.getScaledToFillImageUrl(image, 641, 480, {}), url);
  assert.equal(other.status, 403);
});
