// Draws the chosen contract. The address holds the choice (?spec=/docs/auth-v1.yaml); changing it keeps the pasted token.
'use strict';

const links = [...document.querySelectorAll('nav a')];
const methods = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace'];

// Swagger UI offers no field for a token when a scheme is oauth2, so this page shows such schemes as bearer tokens, and writes the
// scopes, which bearer has no place for, into the descriptions. The file that is served stays as it is.
function withBearer(spec) {
  const copy = structuredClone(spec);
  const schemes = copy.components?.securitySchemes ?? {};
  const scopes = {};
  for (const [name, scheme] of Object.entries(schemes)) {
    if (scheme.type !== 'oauth2') continue;
    scopes[name] = Object.assign({}, ...Object.values(scheme.flows ?? {}).map((flow) => flow.scopes));
    const list = Object.entries(scopes[name]).map(([scope, meaning]) => `- \`${scope}\`: ${meaning}`);
    schemes[name] = {
      type: 'http', scheme: 'bearer', description: [scheme.description ?? '', '', 'Scopes:', '', ...list].join('\n'),
    };
  }
  for (const item of Object.values(copy.paths ?? {})) {
    for (const method of methods.filter((method) => item[method])) {
      const operation = item[method];
      const needs = (operation.security ?? copy.security ?? []).flatMap((one) => Object.entries(one))
        .filter(([name]) => scopes[name])
        .map(([, needed]) => needed.length ? 'a token with ' + needed.map((scope) => `\`${scope}\``).join(' and ') : 'a token');
      const note = needs.length ? `Needs ${needs.join(', or ')}.` : 'Needs no token.';
      operation.description = [operation.description ?? '', note].join('\n\n');
    }
  }
  return copy;
}

const ui = SwaggerUIBundle({
  dom_id: '#page',
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [() => ({ statePlugins: { spec: { wrapActions: { updateJsonSpec: (next) => (spec) => next(withBearer(spec)) } } } })],
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null, // the default sends the contract to a server of swagger.io
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
});

let shown;
function show() {
  const wanted = new URLSearchParams(location.search).get('spec');
  const link = links.find((link) => link.dataset.path === wanted) ?? links[0]; // never an address that the page did not offer
  if (!link || link === shown) return; // popstate also tells of a change behind the #
  shown?.removeAttribute('aria-current');
  shown = link;
  link.setAttribute('aria-current', 'page');
  document.title = link.textContent + ' API';
  ui.specActions.updateUrl(link.dataset.path);
  ui.specActions.download(link.dataset.path);
}

for (const link of links) {
  link.addEventListener('click', (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.pushState(null, '', link.getAttribute('href'));
    show();
  });
}
addEventListener('popstate', show);
show();
