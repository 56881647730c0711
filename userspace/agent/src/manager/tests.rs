// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Changes that fail half-way.

use std::fs;
use std::path::PathBuf;

use sallyport_flow::{FlowId, Mark, Refused, Secret, Suite};

use super::*;
use crate::config::default_policy;
use crate::session::{Key, Keys};

fn realm(address: &str) -> RealmConfig {
    RealmConfig {
        addresses: vec![address.parse().unwrap()],
        ports: 40000..=40001,
    }
}

fn leg() -> LegRequest {
    LegRequest {
        keys: None,
        address: None,
        rtcp_mux: false,
        remote: None,
    }
}

fn request() -> SessionRequest {
    SessionRequest {
        name: None,
        access: leg(),
        core: leg(),
    }
}

fn keys(send: u8) -> Keys {
    let key = |byte| Key {
        secret: Secret::new(vec![byte; Suite::AeadAes128Gcm.key_len()]),
        lifetime: None,
    };
    Keys {
        suite: Suite::AeadAes128Gcm,
        receive: key(100 + send),
        send: key(send),
    }
}

/// A manager and a data plane that are connected, and a folder of their own.
struct Played {
    config: Config,
    data_plane: pretended::DataPlane,
    manager: Manager,
    folder: Folder,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Played {
    async fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sallyport-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            store: folder.join("store"),
            store_key: folder.join("key"),
            flow_socket: folder.join("flow.sock"),
            access: realm("192.0.2.1"),
            core: realm("10.0.0.1"),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            policy: default_policy(),
            ng: None,
            https: None,
        };
        let data_plane = pretended::DataPlane::start(&config.flow_socket);
        let (store, _) = Store::open(&config.store, &config.store_key).unwrap();
        let manager = Manager::new(&config, store, Vec::new());
        let (connection, _events) = DataPlane::connect(&config.flow_socket).await;
        *manager.data_plane.write().await = Some(connection);
        Self {
            config,
            data_plane,
            manager,
            folder: Folder(folder),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_store_cannot_be_written_nothing_is_left_of_the_session() {
    let mut played = Played::start("nothing-left").await;
    let store = played.manager.store.clone();
    played.manager.store = store.broken();
    let error = played.manager.create_now(request()).await.unwrap_err();
    assert!(error.to_string().contains("agent.store"), "{error}");
    assert!(played.data_plane.state().flows.is_empty());
    assert_eq!(played.manager.count(), 0);
    let problem = played.manager.check_store().await.unwrap_err();
    assert!(problem.to_string().contains("make room"), "{problem}");
    // The only ports are free again.
    played.manager.store = store;
    played.manager.check_store().await.unwrap();
    played.manager.create_now(request()).await.unwrap();
    assert_eq!(played.data_plane.state().flows.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_data_plane_refuses_is_in_the_store_as_it_was() {
    let played = Played::start("refused").await;
    let manager = &played.manager;
    let refused = || vec![Refused::Failed("for a test".to_owned())];
    played.data_plane.state().refuse_installs = refused();
    manager.create_now(request()).await.unwrap_err();
    let mut protected = request();
    protected.access.keys = Some(keys(1));
    let session = manager.create_now(protected).await.unwrap();
    let entry = manager.entry(session.id).unwrap();
    played.data_plane.state().refuse_removals = refused();
    let removed = manager.change(&entry, None, manager.taken()).await;
    removed.unwrap_err();
    assert!(entry.state().is_some());

    drop(played.data_plane);
    drop(played.manager);
    let [store, key] = ["store", "key"].map(|name| played.folder.0.join(name));
    let (_, found) = Store::open(&store, &key).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].id, session.id);
    assert!(!found[0].marks.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_whose_change_is_taken_back_go_on_behind_their_marks() {
    let mut played = Played::start("taken-back").await;
    let manager = &mut played.manager;
    let mut protected = request();
    protected.access.keys = Some(keys(1));
    let session = manager.create_now(protected).await.unwrap();
    let entry = manager.entry(session.id).unwrap();
    let mark = |rtcp| Mark {
        ssrc: 7,
        rtp: Some(1 << 17),
        rtcp,
    };
    let sending = FlowId(session.id.number() | 2);
    let did = FlowStatistics {
        id: sending,
        protect: vec![mark(Some(9))],
        ..FlowStatistics::default()
    };
    played.data_plane.state().statistics.insert(sending, did);
    manager.store = manager.store.broken();
    let other = SessionKeys {
        access: Some(keys(2)),
        core: None,
    };
    let other = State::Session(Box::new(session), other);
    let changed = manager.change(&entry, Some(other), manager.taken());
    changed.await.unwrap_err();
    let protect = played.data_plane.state().flows[&sending]
        .egress
        .protect
        .clone()
        .unwrap();
    assert_eq!(protect.keys[0].secret, keys(1).send.secret);
    assert_eq!(protect.marks, [mark(Some(9))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_have_been_given_to_the_data_plane_is_never_given_as_a_new_one() {
    let played = Played::start("lost").await;
    let manager = &played.manager;
    let mut protected = request();
    protected.access.keys = Some(keys(1));
    let session = manager.create_now(protected).await.unwrap();
    let entry = manager.entry(session.id).unwrap();
    let other = || {
        let keys = SessionKeys {
            access: Some(keys(2)),
            core: None,
        };
        State::Session(Box::new(session.clone()), keys)
    };
    let sending = FlowId(session.id.number() | 2);
    let given = || {
        let state = played.data_plane.state();
        state.flows[&sending].egress.protect.clone().unwrap()
    };
    let change = || manager.change(&entry, Some(other()), manager.taken());

    played.data_plane.state().hangs_up_on_change = true;
    let error = change().await.unwrap_err();
    assert!(matches!(error, ManagerError::DataPlane(_)), "{error}");
    // It was done, though nobody has heard of it.
    assert_eq!(given().keys[0].secret, keys(2).send.secret);
    assert!(given().marks.is_empty(), "its first use");

    let reconnect = async || {
        let (connection, _events) = DataPlane::connect(&played.config.flow_socket).await;
        *manager.data_plane.write().await = Some(connection);
    };
    for turns in 1..4 {
        reconnect().await;
        let is_last = turns == 3;
        played.data_plane.state().hangs_up_on_change = !is_last;
        assert_eq!(change().await.is_ok(), is_last);
        let furthest = given().marks.iter().filter_map(|mark| mark.rtcp).max();
        assert!(furthest >= Some(turns * Mark::RTCP_STEP), "{furthest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_waits_while_its_session_is_closed_does_not_bring_it_back() {
    let played = Played::start("closed").await;
    let manager = &played.manager;
    let session = manager.create_now(request()).await.unwrap();
    let entry = manager.entry(session.id).unwrap();
    let same = State::Session(Box::new(session), SessionKeys::default());
    let reconciling = manager.data_plane.write().await;
    let (changed, ()) = tokio::join!(manager.change(&entry, Some(same), manager.taken()), async {
        manager.forget(&entry).await;
        drop(reconciling);
    });
    assert!(matches!(changed, Err(ManagerError::UnknownSession)));
    assert!(entry.state().is_none());
    assert_eq!(manager.count(), 0);
}
