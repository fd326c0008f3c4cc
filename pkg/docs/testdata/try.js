// only with auth, users: this file

// Follows init.js in the browser test: pastes a token as a person does, tries an operation of auth, goes to users by
// its link and tries one there.
(async () => {
  const find = async (selector, text = '') => {
    for (let i = 0; i < 200; i++) {
      const found = [...document.querySelectorAll(selector)].find((each) => each.textContent.includes(text));
      if (found) return found;
      await new Promise((done) => setTimeout(done, 50));
    }
    throw new Error(`no ${selector} ${text}`);
  };
  const tryOut = async (operation) => {
    (await find(operation + ' .opblock-summary-control')).click();
    (await find(operation + ' .try-out__btn')).click();
    (await find(operation + ' .execute')).click();
    await find(operation + ' .live-responses-table');
  };
  try {
    (await find('.auth-wrapper .authorize')).click();
    const field = await find('.auth-container input');
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(field, 'pasted');
    field.dispatchEvent(new Event('input', { bubbles: true }));
    field.dispatchEvent(new Event('change', { bubbles: true }));
    (await find('.auth-btn-wrapper button', 'Authorize')).click();
    (await find('.auth-btn-wrapper .btn-done')).click();
    await tryOut('#operations-session-logout');
    (await find('nav a', 'users v1')).click();
    await tryOut('[id^="operations-"][id$="-getMe"]');
    document.body.dataset.story = 'told';
  } catch (failed) {
    document.body.dataset.story = String(failed);
  }
})();
