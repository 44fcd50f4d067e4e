"""The site's addresses."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path
from django.views.i18n import set_language

from labelsite.metrics import metrics

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/v1/", include("labelsite.api")),
    path("login/", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("language/", set_language, name="set_language"),
    path("metrics", metrics, name="metrics"),
    path("", include("labeling.urls")),
]
handler400 = "labelsite.errors.bad_request"
handler403 = "labelsite.errors.permission_denied"
handler404 = "labelsite.errors.page_not_found"
handler500 = "labelsite.errors.server_error"
