// Webhooks: who is told of events, every attempt of that, and telling again.

import { html, useState } from '../vendor/preact.js';
import * as api from '../lib/api.js';
import { ago, dateTime } from '../lib/format.js';
import { Button, Confirm, Dialog, Empty, Failed, Field, Loading, reason, say, useLoaded } from '../lib/ui.js';
import { t } from '../lib/strings.js';

const TONES = { delivered: 'good', pending: 'warn', dead: 'bad' };

function NewWebhook({ onMade, onClose }) {
  const [problem, setProblem] = useState('');
  const submit = async (event) => {
    event.preventDefault();
    try {
      await api.addWebhook(String(new FormData(event.currentTarget).get('url')).trim());
      onMade();
    } catch (error) {
      const [violation] = error.violations ?? [];
      setProblem(violation ? `${violation.field} ${violation.description}` : reason(error));
    }
  };
  return html`<${Dialog} title=${t('hooks.add')} onClose=${onClose}><form onSubmit=${submit}>
    <${Field} id="hook-url" name="url" type="url" label=${t('hooks.url')} hint=${t('hooks.urlHint')} error=${problem} required autofocus />
    <div class="dialog-actions"><${Button} label=${t('dialog.cancel')} onClick=${onClose} />
      <${Button} type="submit" kind="primary" label=${t('hooks.add')} /></div></form><//>`;
}

function Attempt({ attempt }) {
  const isGood = attempt.status >= 200 && attempt.status < 300;
  return html`<li class=${isGood ? 'good' : ''}><span>${t('hooks.attempt', { n: attempt.attempt })}</span>
    <b>${attempt.status ?? attempt.problem ?? t('hooks.noAnswer')}</b><span class="soft">${attempt.milliseconds} ms</span>
    <span class="soft">${dateTime(attempt.startedDate)}</span>
    ${attempt.response && html`<code class="soft">${attempt.response.slice(0, 160)}</code>`}</li>`;
}

function Timeline({ hook }) {
  const list = useLoaded(() => api.deliveries(hook.id), [hook.id]);
  const again = async (delivery) => {
    try {
      await api.replay(hook.id, [delivery.eventId]);
      say(t('hooks.againDone'));
      list.again();
    } catch (error) {
      say(reason(error));
    }
  };
  if (list.error) return html`<${Failed} error=${list.error} retry=${list.again} />`;
  if (!list.value) return html`<${Loading} />`;
  const head = html`<div class="panel-head"><h3 class="grow">${t('hooks.deliveries')}</h3>
    <${Button} kind="quiet" icon="retry" label=${t('hooks.refresh')} onClick=${list.again} /></div>`;
  if (list.value.length === 0) return html`${head}<${Empty} title=${t('hooks.noDeliveries')}><p>${t('hooks.noDeliveriesLead')}</p><//>`;
  return html`${head}<ul class="timeline">${list.value.map((one) => html`<li key=${one.eventId}>
    <div class="line"><span class="tag ${TONES[one.state] ?? ''}">${t(`hooks.state.${one.state}`)}</span>
      <span class="grow"><b>${one.eventType}</b> <small class="soft mono">${one.attachmentId}</small></span>
      <span class="soft" title=${dateTime(one.eventTime)}>${ago(one.eventTime)}</span>
      ${one.state !== 'pending' && html`<${Button} icon="retry" label=${t('hooks.again')} onClick=${() => again(one)} />`}</div>
    <ol class="attempts">${one.attempts.map((attempt) => html`<${Attempt} key=${attempt.attempt} attempt=${attempt} />`)}</ol>
    ${one.nextAttempt && html`<small class="soft">${t('hooks.next', { time: dateTime(one.nextAttempt) })}</small>`}</li>`)}</ul>`;
}

function Hook({ hook, again }) {
  const [isRemoving, setRemoving] = useState(false);
  const [round, setRound] = useState(0);
  const test = async () => {
    try {
      const delivery = await api.testWebhook(hook.id);
      const last = delivery?.attempts.at(-1);
      say(t('hooks.tested', { outcome: last?.status ?? last?.problem ?? t('hooks.state.pending') }));
      setRound((before) => before + 1);
      again();
    } catch (error) {
      say(reason(error));
    }
  };
  const turn = async () => {
    await api.changeWebhook(hook.id, { enabled: !hook.enabled }).catch((error) => say(reason(error)));
    again();
  };
  const remove = async () => {
    await api.removeWebhook(hook.id).catch((error) => say(reason(error)));
    setRemoving(false);
    again();
  };
  return html`<section class="panel"><div class="panel-head">
      <h2 class="grow">${hook.url}</h2>
      <span class="tag ${hook.enabled ? 'good' : ''}">${t(hook.enabled ? 'hooks.enabled' : 'hooks.disabled')}</span>
      ${hook.failuresInARow > 0 && html`<span class="tag bad">${t('hooks.failing', { n: hook.failuresInARow })}</span>`}
      <${Button} label=${t('hooks.test')} icon="bell" onClick=${test} />
      <${Button} iconOnly icon=${hook.enabled ? 'pause' : 'play'} label=${t(hook.enabled ? 'hooks.disabled' : 'hooks.enabled')} onClick=${turn} />
      <${Button} iconOnly icon="trash" label=${t('hooks.remove')} onClick=${() => setRemoving(true)} /></div>
    <${Timeline} key=${round} hook=${hook} />
    ${isRemoving && html`<${Confirm} title=${t('hooks.removeTitle')} go=${t('hooks.remove')} onGo=${remove} onClose=${() => setRemoving(false)}>
      <p>${hook.url}</p><//>`}</section>`;
}

export function Webhooks() {
  const list = useLoaded(api.webhooks, []);
  const [isAdding, setAdding] = useState(false);
  if (list.error) return html`<${Failed} error=${list.error} retry=${list.again} />`;
  if (!list.value) return html`<${Loading} />`;
  return html`<div class="lead"><p>${t('hooks.lead')}</p>
      <${Button} icon="plus" kind="primary" label=${t('hooks.add')} onClick=${() => setAdding(true)} /></div>
    ${list.value.length === 0 ? html`<${Empty} icon="bell" title=${t('hooks.empty')}><p>${t('hooks.emptyLead')}</p><//>`
      : list.value.map((hook) => html`<${Hook} key=${hook.id} hook=${hook} again=${list.again} />`)}
    ${isAdding && html`<${NewWebhook} onClose=${() => setAdding(false)} onMade=${() => { setAdding(false); list.again(); }} />`}`;
}
