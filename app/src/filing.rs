//! What a person says of records, on its way to the server: one request after the other, as it was said, so that of two
//! judgements of one record the later one stays. While the server cannot be reached nothing is given up: it is tried again.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

use leptos::{prelude::*, task::spawn_local};

use crate::services::ServiceError;

/// Between two tries to reach the server.
const RETRY: Duration = Duration::from_secs(2);

type Work = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    static WAITING: RefCell<VecDeque<Work>> = const { RefCell::new(VecDeque::new()) };
    static SENDING: Cell<bool> = const { Cell::new(false) };
}

/// Does something when all that was asked for before has been done. It outlives the page that asked; whoever closes the
/// window before is asked whether they mean it.
pub fn in_order(work: impl Future<Output = ()> + 'static) {
    WAITING.with_borrow_mut(|waiting| waiting.push_back(Box::pin(work)));
    if SENDING.replace(true) {
        return;
    }
    let guard = window_event_listener_untyped("beforeunload", |ev| ev.prevent_default());
    spawn_local(async move {
        while let Some(next) = WAITING.with_borrow_mut(VecDeque::pop_front) {
            next.await;
        }
        SENDING.set(false);
        guard.remove();
    });
}

/// Sends something until the server has answered. That it cannot be reached is told meanwhile.
///
/// # Errors
/// The server's own refusal.
pub async fn heard<T, F: Future<Output = Result<T, ServiceError>>>(
    error: RwSignal<Option<ServiceError>>,
    send: impl Fn() -> F,
) -> Result<T, ServiceError> {
    loop {
        let answer = send().await;
        if !matches!(answer, Err(ServiceError::Unreachable)) {
            // What was told of earlier tries is over.
            if error.try_get_untracked().flatten() == Some(ServiceError::Unreachable) {
                error.try_set(None);
            }
            return answer;
        }
        error.try_set(Some(ServiceError::Unreachable));
        pause(RETRY).await;
    }
}

async fn pause(time: Duration) {
    let over: Rc<RefCell<(bool, Option<Waker>)>> = Rc::default();
    let timer = Rc::clone(&over);
    let ring = move || {
        let mut timer = timer.borrow_mut();
        timer.0 = true;
        if let Some(waker) = timer.1.take() {
            waker.wake();
        }
    };
    set_timeout(ring, time);
    poll_fn(move |context| {
        let mut over = over.borrow_mut();
        if over.0 {
            return Poll::Ready(());
        }
        over.1 = Some(context.waker().clone());
        Poll::Pending
    })
    .await;
}
