//! Routes as they are registered: the router that answers them, and the list of them for whoever must know
//! all. One is never without the other.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};

use crate::app::App;

/// Something that is answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Its path, with parameters in braces; the last may begin with `*`, and then holds slashes.
    pub path: String,
    /// Its method. GET answers HEAD as well.
    pub method: &'static str,
}

/// Routes being registered.
#[derive(Default)]
pub(super) struct Routes {
    router: Router<Arc<App>>,
    known: Vec<Route>,
}

/// One method for each HTTP method.
macro_rules! methods {
    ($($name:ident $filter:ident),*) => {$(
        /// Answers this method of a path.
        pub(super) fn $name<H, T>(self, path: &str, handler: H) -> Self
        where
            H: Handler<T, Arc<App>>,
            T: 'static,
        {
            self.answer(MethodFilter::$filter, stringify!($filter), path, handler)
        }
    )*};
}

impl Routes {
    methods!(get GET, head HEAD, put PUT, post POST, patch PATCH, delete DELETE);

    fn answer<H, T>(
        mut self,
        filter: MethodFilter,
        method: &'static str,
        path: &str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        self.router = self.router.route(path, on(filter, handler));
        self.known.push(Route { path: path.to_owned(), method });
        self
    }

    /// What answers them.
    pub(super) fn router(self) -> Router<Arc<App>> {
        self.router
    }

    /// All of them.
    pub(super) fn known(self) -> Vec<Route> {
        self.known
    }
}
