// What a person does in Thunderbird, run inside it: each function is one step and resolves when it has been done.
// thunderbird.py sends this file before every call; nothing here checks anything, that is for the test.
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const accountCreation = (name) => ChromeUtils.importESModule(`resource:///modules/accountcreation/${name}.sys.mjs`)[name];
const messageWindow = () => Services.wm.getMostRecentWindow("mail:3pane").msgWindow;
const mailServer = () => MailServices.accounts.allServers.find((server) => ["imap", "pop3"].includes(server.type));
const failed = (status) => new Error(`status 0x${(status >>> 0).toString(16)}`);

// Calls `start` with an nsIUrlListener and resolves when its URL has run.
const url = (start) => new Promise((resolve, reject) => start({
  QueryInterface: ChromeUtils.generateQI(["nsIUrlListener"]),
  OnStartRunningUrl() {},
  OnStopRunningUrl: (_, status) => (Components.isSuccessCode(status) ? resolve() : reject(failed(status))),
}));

// Calls `start` with an nsIMsgCopyServiceListener and resolves when the copy has ended.
const copy = (start) => new Promise((resolve, reject) => start({
  QueryInterface: ChromeUtils.generateQI(["nsIMsgCopyServiceListener"]),
  onStartCopy() {}, onProgress() {}, setMessageKey() {}, getMessageId() {},
  onStopCopy: (status) => (Components.isSuccessCode(status) ? resolve() : reject(failed(status))),
}));

// Resolves when `condition()` is true; the caller's timeout ends a vain wait.
const until = async (condition) => {
  for (let value; ; await new Promise((resolve) => window.setTimeout(resolve, 20))) {
    if ((value = condition())) return value;
  }
};

const pathOf = (folder) => (folder.parent && !folder.parent.isServer ? `${pathOf(folder.parent)}/${folder.name}` : folder.name);
const folders = () => mailServer().rootFolder.descendants;
const folder = (path) => {
  const found = folders().find((one) => pathOf(one).toLowerCase() === path.toLowerCase());
  if (!found) throw new Error(`no folder ${path} among ${folders().map(pathOf)}`);
  return found;
};
const headers = (path) => [...folder(path).messages];
const header = (path, subject) => {
  const found = headers(path).find((one) => one.mime2DecodedSubject === subject);
  if (!found) throw new Error(`no message ${subject} among ${headers(path).map((one) => one.mime2DecodedSubject)}`);
  return found;
};

const steps = {
  // As a person confirms the security exception for a server with a self-signed certificate.
  trust(host, ports, base64) {
    const certificates = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB);
    const overrides = Cc["@mozilla.org/security/certoverride;1"].getService(Ci.nsICertOverrideService);
    for (const port of ports) overrides.rememberValidityOverride(host, port, {}, certificates.constructX509FromBase64(base64), false);
  },

  // The account hub's own chain: probe the two ports, sign in on trial, create the account.
  async setUpAccount(at) {
    const { AccountConfig } = ChromeUtils.importESModule("resource:///modules/accountcreation/AccountConfig.sys.mjs");
    const wanted = new AccountConfig();
    Object.assign(wanted.identity, { realname: at.name, emailAddress: at.user });
    Object.assign(wanted.incoming, { type: at.type ?? "imap", hostname: at.host, port: at.incoming, socketType: Ci.nsMsgSocketType.SSL });
    Object.assign(wanted.outgoing, { type: "smtp", hostname: at.host, port: at.submissions, socketType: Ci.nsMsgSocketType.SSL });
    for (const server of [wanted.incoming, wanted.outgoing]) Object.assign(server, { username: at.user, password: at.password });
    const abort = new AbortController();
    const guessed = await accountCreation("GuessConfig").guessConfig("example.test", () => {}, wanted, "both", abort.signal);
    const { ConfigVerifier } = ChromeUtils.importESModule("resource:///modules/accountcreation/ConfigVerifier.sys.mjs");
    const verified = await new ConfigVerifier(messageWindow(), abort.signal).verifyConfig(guessed);
    verified.rememberPassword = true;
    const account = await accountCreation("CreateInBackend").createAccountInBackend(verified);
    return { incoming: verified.incoming.auth, outgoing: verified.outgoing.auth, key: account.key };
  },

  folders() {
    const kinds = ["Inbox", "SentMail", "Drafts", "Trash", "Junk", "Archive"];
    return folders().map((one) => ({
      path: pathOf(one), kind: kinds.filter((kind) => one.getFlag(Ci.nsMsgFolderFlags[kind])), unread: one.getNumUnread(false), total: one.getTotalMessages(false),
    }));
  },

  // Opens a folder in the main window, as a click on it does; Thunderbird then brings it up to date in its own time.
  open(path) { window.document.getElementById("tabmail").currentAbout3Pane.displayFolder(folder(path).URI); },

  // The button "Get Messages". Thunderbird tells nobody when a folder is up to date that it was updating already.
  getMessages(path) { folder(path).getNewMessages(messageWindow(), null); },

  // The same for the whole account, which is all there is with POP3.
  async getMail() {
    const server = mailServer();
    await url((listener) => server.getNewMessages(server.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox), messageWindow(), listener));
  },

  list(path) {
    return headers(path).map((one) => ({
      subject: one.mime2DecodedSubject, author: one.mime2DecodedAuthor, read: one.isRead, flagged: one.isFlagged, key: one.messageKey,
    }));
  },

  // Selects a message in the main window, as a click does, and returns the text that is shown.
  async read(path, subject) {
    const pane = window.document.getElementById("tabmail").currentAbout3Pane;
    const view = await until(() => pane.gDBView);
    pane.threadTree.selectedIndex = await until(() => {
      const index = view.findIndexOfMsgHdr(header(path, subject), true);
      return index === 0xffffffff ? undefined : index + 1;
    }) - 1;
    const shown = await until(() => {
      const content = pane.messageBrowser.contentWindow;
      return content.gMessage?.mime2DecodedSubject === subject && content.msgLoaded && content.getMessagePaneBrowser().contentDocument.body;
    });
    return shown.textContent;
  },

  async waitForFolder(path) { await until(() => folders().some((one) => pathOf(one) === path)); },

  async createFolder(parent, name) {
    const above = parent ? folder(parent) : mailServer().rootFolder;
    above.createSubfolder(name, messageWindow());
    const path = parent ? `${parent}/${name}` : name;
    await until(() => folders().some((one) => pathOf(one) === path));
  },

  async move(from, subjects, to) {
    await copy((listener) => MailServices.copy.copyMessages(
      folder(from), subjects.map((subject) => header(from, subject)), folder(to), true, listener, messageWindow(), true));
  },

  async remove(path, subjects) {
    await copy((listener) => folder(path).deleteMessages(
      subjects.map((subject) => header(path, subject)), messageWindow(), false, false, listener, true));
  },

  flag(path, subject) { folder(path).markMessagesFlagged([header(path, subject)], true); },
  tag(path, subject, keyword) { folder(path).addKeywordsToMessages([header(path, subject)], keyword); },
  async emptyTrash() { await url((listener) => folder("Trash").emptyTrash(listener)); },

  // Searches on the server, as "Search Messages" with "Run search on server" does. Terms: [[attribute, text], …], all must hold.
  async search(path, terms) {
    const found = [];
    const session = Cc["@mozilla.org/messenger/searchSession;1"].createInstance(Ci.nsIMsgSearchSession);
    session.addScopeTerm(Ci.nsMsgSearchScope.onlineMail, folder(path));
    for (const [attribute, text] of terms) {
      const term = session.createTerm();
      term.attrib = Ci.nsMsgSearchAttrib[attribute];
      term.op = Ci.nsMsgSearchOp.Contains;
      const value = term.value;
      value.attrib = term.attrib;
      value.str = text;
      term.value = value;
      term.booleanAnd = true;
      session.appendTerm(term);
    }
    await new Promise((resolve) => {
      session.registerListener({
        QueryInterface: ChromeUtils.generateQI(["nsIMsgSearchNotify"]),
        onNewSearch() {},
        onSearchHit: (hit) => found.push(hit.mime2DecodedSubject),
        onSearchDone: resolve,
      }, Ci.nsIMsgSearchSession.allNotifications);
      session.search(messageWindow());
    });
    return found;
  },

  // Waits until every message of these folders is stored on this side too, as it is by default, then works without the network.
  async goOffline(paths) {
    await until(() => paths.every((path) => headers(path).every((one) => one.flags & Ci.nsMsgMessageFlags.Offline)));
    const manager = Cc["@mozilla.org/messenger/offline-manager;1"].getService(Ci.nsIMsgOfflineManager);
    manager.synchronizeForOffline(false, false, false, true, messageWindow());
    await until(() => Services.io.offline);
  },

  // Back on the network: what was done without it is played back to the server.
  async goOnline() {
    const manager = Cc["@mozilla.org/messenger/offline-manager;1"].getService(Ci.nsIMsgOfflineManager);
    manager.goOnline(false, true, messageWindow());
    await until(() => !Services.io.offline);
  },

  // Writes a message in a compose window and presses Send.
  async send(to, subject, text) {
    const fields = Cc["@mozilla.org/messengercompose/composefields;1"].createInstance(Ci.nsIMsgCompFields);
    Object.assign(fields, { to, subject, body: text });
    const params = Cc["@mozilla.org/messengercompose/composeparams;1"].createInstance(Ci.nsIMsgComposeParams);
    Object.assign(params, { composeFields: fields, format: Ci.nsIMsgCompFormat.PlainText, type: Ci.nsIMsgCompType.New, identity: MailServices.accounts.defaultAccount.defaultIdentity });
    const opened = new Promise((resolve) => Services.ww.registerNotification(function watch(win, topic) {
      if (topic !== "domwindowopened") return;
      Services.ww.unregisterNotification(watch);
      resolve(win);
    }));
    MailServices.compose.OpenComposeWindowWithParams(null, params);
    const compose = await opened;
    await until(() => compose.gMsgCompose && compose.gLoadingComplete !== false && compose.composeEditorReady);
    const closed = new Promise((resolve) => compose.addEventListener("unload", resolve));
    compose.goDoCommand("cmd_sendNow");
    await closed;
  },
};
