// What page/vendor/tus.js exports.

export { Upload, isSupported } from 'tus-js-client';
export type { DetailedError, UploadOptions } from 'tus-js-client';
