// Renders the preview of one file repeatedly with sharp, on one thread, without its cache:
// node render.mjs SOURCE OUTPUT SECONDS. Prints JSON.
import { readFileSync, writeFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';

import sharp from 'sharp';

sharp.concurrency(1);
sharp.cache(false);

const [source, output, seconds] = process.argv.slice(2);
const bytes = readFileSync(source);
const preview = () => sharp(bytes)
  .autoOrient()
  .resize(640, 640, { fit: 'inside', withoutEnlargement: true })
  .toColourspace('srgb')
  .jpeg({ quality: 80 })
  .toBuffer();

const made = await preview();
writeFileSync(output, made);
const cpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const times = [];
const cpuTimes = [];
const end = performance.now() + Number(seconds) * 1000;
while (times.length < 3 || performance.now() < end) {
  const [start, cpuStart] = [performance.now(), cpuMs()];
  await preview();
  times.push(performance.now() - start);
  cpuTimes.push(cpuMs() - cpuStart);
}
times.sort((a, b) => a - b);
cpuTimes.sort((a, b) => a - b);
const status = readFileSync('/proc/self/status', 'utf8');
console.log(JSON.stringify({
  best_ms: times[0],
  median_ms: times[Math.floor(times.length / 2)],
  best_cpu_ms: cpuTimes[0],
  median_cpu_ms: cpuTimes[Math.floor(cpuTimes.length / 2)],
  peak_kib: Number(/VmHWM:\s+(\d+)/.exec(status)[1]),
  bytes: made.length,
}));
