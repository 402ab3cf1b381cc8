//! Registers routes with the router and in a list at the same time, so that the two cannot differ.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};

use crate::app::App;

/// A method of a path that the server handles.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The path, with parameters in braces. A last parameter that begins with `*` may contain
    /// slashes.
    pub path: String,
    /// The method. GET includes HEAD.
    pub method: &'static str,
}

/// The routes registered so far.
#[derive(Default)]
pub(super) struct Routes {
    router: Router<Arc<App>>,
    known: Vec<Route>,
}

/// Defines a registering function for each HTTP method.
macro_rules! methods {
    ($($name:ident $filter:ident),*) => {$(
        /// Registers the handler of this method of a path.
        pub(super) fn $name<H, T>(self, path: &str, handler: H) -> Self
        where
            H: Handler<T, Arc<App>>,
            T: 'static,
        {
            self.register(MethodFilter::$filter, stringify!($filter), path, handler)
        }
    )*};
}

impl Routes {
    methods!(get GET, head HEAD, put PUT, post POST, patch PATCH, delete DELETE);

    fn register<H, T>(
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

    /// The router of all routes.
    pub(super) fn router(self) -> Router<Arc<App>> {
        self.router
    }

    /// The list of all routes.
    pub(super) fn known(self) -> Vec<Route> {
        self.known
    }
}
