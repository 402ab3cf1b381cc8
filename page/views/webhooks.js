// Webhooks with their deliveries, every attempt of those, and replay.

/**
 * @import { TargetedSubmitEvent } from '../vendor/preact.js'
 * @import { Attempt as AttemptJson, Delivery, Webhook as WebhookJson } from '../lib/types.js'
 */

import { html, useState } from '../vendor/preact.js';
import * as api from '../lib/api.js';
import { ago, dateTime } from '../lib/format.js';
import { Button, Confirm, Dialog, Empty, Failed, Field, Loading, fieldText, notify, reason, useLoaded } from '../lib/ui.js';
import { t } from '../lib/strings.js';

const TONES = { delivered: 'good', pending: 'warn', dead: 'bad' };

/** @param {{ onCreated: () => void, onClose: () => void }} props */
function NewWebhook({ onCreated, onClose }) {
  const [problem, setProblem] = useState('');
  /** @param {TargetedSubmitEvent<HTMLFormElement>} event */
  const submit = async (event) => {
    event.preventDefault();
    try {
      await api.addWebhook(fieldText(event.currentTarget, 'url'));
      onCreated();
    } catch (error) {
      setProblem(reason(error));
    }
  };
  return html`<${Dialog} title=${t('hooks.add')} onClose=${onClose}><form onSubmit=${submit}>
    <${Field} id="hook-url" name="url" type="url" label=${t('hooks.url')} hint=${t('hooks.urlHint')} error=${problem} required autofocus />
    <div class="dialog-actions"><${Button} label=${t('dialog.cancel')} onClick=${onClose} />
      <${Button} type="submit" kind="primary" label=${t('hooks.add')} /></div></form><//>`;
}

/** @param {AttemptJson} attempt */
const isDelivered = ({ status }) => status !== null && status >= 200 && status < 300;

/**
 * Why an attempt failed.
 *
 * @param {AttemptJson} attempt
 */
const problemOf = ({ status, problem }) =>
  problem ?? (status === null ? t('hooks.noResponse') : t('hooks.status', { status }));

/** @param {{ attempt: AttemptJson }} props */
function Attempt({ attempt }) {
  return html`<li class=${isDelivered(attempt) ? 'good' : ''}><span>${t('hooks.attempt', { n: attempt.attempt })}</span>
    <b>${attempt.status ?? problemOf(attempt)}</b><span class="soft">${attempt.milliseconds} ms</span>
    <span class="soft">${dateTime(attempt.startedDate)}</span>
    ${attempt.response && html`<code class="soft">${attempt.response.slice(0, 160)}</code>`}</li>`;
}

/** @param {{ hook: WebhookJson }} props */
function Deliveries({ hook }) {
  const list = useLoaded(() => api.deliveries(hook.id), [hook.id]);
  /** @param {Delivery} delivery */
  const replay = async (delivery) => {
    try {
      await api.replay(hook.id, [delivery.eventId]);
      notify(t('hooks.replayed'));
      list.reload();
    } catch (error) {
      notify(reason(error));
    }
  };
  if (list.error) return html`<${Failed} error=${list.error} retry=${list.reload} />`;
  if (!list.value) return html`<${Loading} />`;
  const head = html`<div class="panel-head"><h3 class="grow">${t('hooks.deliveries')}</h3>
    <${Button} kind="quiet" icon="retry" label=${t('hooks.refresh')} onClick=${list.reload} /></div>`;
  if (list.value.length === 0) return html`${head}<${Empty} title=${t('hooks.noDeliveries')}><p>${t('hooks.noDeliveriesLead')}</p><//>`;
  return html`${head}<ul class="timeline">${list.value.map((delivery) => html`<li key=${delivery.eventId}>
    <div class="line"><span class="tag ${TONES[delivery.state]}">${t(`hooks.state.${delivery.state}`)}</span>
      <span class="grow"><b>${delivery.eventType}</b> <small class="soft mono">${delivery.attachmentId}</small></span>
      <span class="soft" title=${dateTime(delivery.eventTime)}>${ago(delivery.eventTime)}</span>
      ${delivery.state !== 'pending' && html`<${Button} icon="retry" label=${t('hooks.replay')} onClick=${() => replay(delivery)} />`}</div>
    <ol class="attempts">${delivery.attempts.map((attempt) => html`<${Attempt} key=${attempt.attempt} attempt=${attempt} />`)}</ol>
    ${delivery.nextAttempt && html`<small class="soft">${t('hooks.next', { time: dateTime(delivery.nextAttempt) })}</small>`}</li>`)}</ul>`;
}

/**
 * What came of a test event.
 *
 * @param {Delivery | null} delivery
 */
function testOutcome(delivery) {
  const attempt = delivery?.attempts.at(-1);
  if (!attempt) return t('hooks.testPending');
  if (isDelivered(attempt)) return t('hooks.testDelivered', { status: attempt.status ?? '' });
  return t('hooks.testFailed', { problem: problemOf(attempt) });
}

/** @param {{ hook: WebhookJson, onChanged: () => void }} props */
function Webhook({ hook, onChanged }) {
  const [isRemoving, setRemoving] = useState(false);
  const [round, setRound] = useState(0);
  const test = async () => {
    try {
      notify(testOutcome(await api.testWebhook(hook.id)));
      setRound((before) => before + 1);
      onChanged();
    } catch (error) {
      notify(reason(error));
    }
  };
  const toggle = async () => {
    await api.changeWebhook(hook.id, { enabled: !hook.enabled }).catch((error) => notify(reason(error)));
    onChanged();
  };
  const remove = async () => {
    await api.removeWebhook(hook.id).catch((error) => notify(reason(error)));
    setRemoving(false);
    onChanged();
  };
  return html`<section class="panel"><div class="panel-head">
      <h2 class="grow">${hook.url}</h2>
      <span class="tag ${hook.enabled ? 'good' : ''}">${t(hook.enabled ? 'hooks.enabled' : 'hooks.disabled')}</span>
      ${hook.failuresInARow > 0 && html`<span class="tag bad">${t('hooks.failures', { count: hook.failuresInARow })}</span>`}
      <${Button} label=${t('hooks.test')} icon="bell" onClick=${test} />
      <${Button} iconOnly icon=${hook.enabled ? 'pause' : 'play'} label=${t(hook.enabled ? 'hooks.disable' : 'hooks.enable')} onClick=${toggle} />
      <${Button} iconOnly icon="trash" label=${t('hooks.remove')} onClick=${() => setRemoving(true)} /></div>
    <${Deliveries} key=${round} hook=${hook} />
    ${isRemoving && html`<${Confirm} title=${t('hooks.removeTitle')} label=${t('hooks.remove')} onConfirm=${remove} onClose=${() => setRemoving(false)}>
      <p>${hook.url}</p><//>`}</section>`;
}

export function Webhooks() {
  const list = useLoaded(api.webhooks, []);
  const [isAdding, setAdding] = useState(false);
  if (list.error) return html`<${Failed} error=${list.error} retry=${list.reload} />`;
  if (!list.value) return html`<${Loading} />`;
  return html`<div class="lead"><p>${t('hooks.lead')}</p>
      <${Button} icon="plus" kind="primary" label=${t('hooks.add')} onClick=${() => setAdding(true)} /></div>
    ${list.value.length === 0 ? html`<${Empty} icon="bell" title=${t('hooks.empty')}><p>${t('hooks.emptyLead')}</p><//>`
      : list.value.map((hook) => html`<${Webhook} key=${hook.id} hook=${hook} onChanged=${list.reload} />`)}
    ${isAdding && html`<${NewWebhook} onClose=${() => setAdding(false)} onCreated=${() => { setAdding(false); list.reload(); }} />`}`;
}
